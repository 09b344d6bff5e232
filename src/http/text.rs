//! The state's things as JSON text that is never in memory as a whole: neither a list of them, nor one of them.
//!
//! A thing is written from its beginning for each piece that it takes, and what lies outside that piece is dropped on the
//! way. A workflow is taken apart into its steps first, so that what is left has about the size of a request's body at most;
//! and the pieces of one that is large all the same grow with it, so that the work stays in proportion.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;

use super::pieces::{PIECE, Piece, Source, of_page};
use crate::{
    domain::{
        Json,
        event::Pattern,
        server::ServerView,
        workflow::{FoundStep, StepView, Workflow},
    },
    door::Access,
};

/// Roughly the most bytes of a page of things: it ends early, but never without one.
pub(super) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A thing's next piece may have one part in so many of what is out of it.
const GROWTH: usize = 8;

/// Things looked at before others have their turn.
pub(super) const LOOKS: usize = 2000;

/// A thing of the state, shared with it.
pub(super) enum Thing {
    /// A server, with what its leases knew.
    Server(Arc<ServerView>),
    /// A workflow and its steps.
    Workflow(Arc<Workflow>),
    /// The same with its definition.
    Defined(Arc<Workflow>),
    /// A step, as somebody may see it.
    Step(FoundStep, Arc<Access>),
    /// A step, as a change left it.
    Reported(Arc<StepView>),
    /// A pattern.
    Pattern(Arc<Pattern>),
}

impl Thing {
    /// Writes it whole.
    ///
    /// # Errors
    /// What `out` says.
    pub(super) fn write_to(self, out: &mut impl io::Write) -> io::Result<()> {
        let mut unfolding = Unfolding::of(self);
        while let Some(atom) = unfolding.next_atom() {
            atom.write(out)?;
        }
        Ok(())
    }
}

/// What comes next of a text.
pub(super) enum Part {
    /// A few words.
    Words(String),
    /// A thing behind a comma or nothing.
    Thing(&'static str, Thing),
    /// Members that come before a thing's own, as its text's beginning.
    Members(String, Thing),
    /// Looking for it takes a while: ask again.
    Later,
    /// Something that can't be had, and why.
    Broken(&'static str),
    /// Nothing.
    End,
}

/// What a text is made of, in order.
pub(super) trait Parts: Send + 'static {
    /// The next part, given how many bytes came before it.
    fn next_part(&mut self, written: usize) -> Part;

    /// How many pieces it is likely to take.
    fn expected(&self) -> u32 {
        0
    }
}

/// A text in pieces.
pub(super) struct Text<P> {
    parts: P,
    thing: Option<Unfolding>,
    /// What is being written, and how much of it is out.
    atom: Option<(Atom, usize)>,
    written: usize,
}

impl<P: Parts> Text<P> {
    pub(super) fn of(parts: P) -> Self {
        Self {
            parts,
            thing: None,
            atom: None,
            written: 0,
        }
    }

    fn end_piece(&mut self, bytes: Vec<u8>, more: bool) -> Piece {
        self.written += bytes.len();
        Piece {
            bytes: Bytes::from(bytes),
            more,
        }
    }
}

impl<P: Parts> Source for Text<P> {
    fn expected(&self) -> u32 {
        self.parts.expected()
    }

    fn next_piece(&mut self) -> io::Result<Piece> {
        let mut out = Vec::with_capacity(PIECE);
        loop {
            if let Some((atom, from)) = self.atom.take() {
                let room = PIECE.max(from / GROWTH).saturating_sub(out.len());
                let mut window = Window {
                    skip: from,
                    room,
                    out: &mut out,
                    is_full: false,
                };
                if let Err(error) = atom.write(&mut window) {
                    if !window.is_full {
                        return Err(error);
                    }
                    self.atom = Some((atom, from + room));
                    return Ok(self.end_piece(out, true));
                }
            }
            if let Some(thing) = &mut self.thing
                && let Some(atom) = thing.next_atom()
            {
                self.atom = Some((atom, std::mem::take(&mut thing.skip)));
                continue;
            }
            self.thing = None;
            match self.parts.next_part(self.written + out.len()) {
                Part::Words(words) => self.atom = Some((Atom::Words(words), 0)),
                Part::Thing(before, thing) => {
                    self.atom = Some((Atom::Words(before.to_owned()), 0));
                    self.thing = Some(Unfolding::of(thing));
                }
                Part::Members(members, thing) => {
                    let mut thing = Unfolding::of(thing);
                    // What follows the brace that the members bring along.
                    thing.skip = 1;
                    self.atom = Some((Atom::Words(members), 0));
                    self.thing = Some(thing);
                }
                Part::Later => return Ok(self.end_piece(out, true)),
                Part::Broken(why) => return Err(io::Error::other(why)),
                Part::End => return Ok(self.end_piece(out, false)),
            }
        }
    }
}

/// What is written as one.
enum Atom {
    Words(String),
    Server(Arc<ServerView>),
    /// A workflow's own, by its place.
    Step(Arc<Workflow>, u32),
    Work(FoundStep, Arc<Access>),
    Reported(Arc<StepView>),
    Json(Json),
    Pattern(Arc<Pattern>),
}

impl Atom {
    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        match self {
            Self::Words(words) => out.write_all(words.as_bytes()),
            Self::Json(json) => out.write_all(json.as_str().as_bytes()),
            Self::Server(server) => serde_json::to_writer(out, &**server).map_err(io::Error::from),
            Self::Step(workflow, place) => {
                serde_json::to_writer(out, &workflow.step_view_at(*place)).map_err(io::Error::from)
            }
            Self::Work(step, access) => {
                let view = step.view().map(|view| access.shows_work(view));
                serde_json::to_writer(out, &view).map_err(io::Error::from)
            }
            Self::Reported(step) => serde_json::to_writer(out, &**step).map_err(io::Error::from),
            Self::Pattern(pattern) => {
                serde_json::to_writer(out, &**pattern).map_err(io::Error::from)
            }
        }
    }
}

/// A thing as what is written of it, bit by bit.
#[derive(Default)]
struct Unfolding {
    before: VecDeque<Atom>,
    /// A workflow whose steps come between, and the place of the next one.
    steps: Option<(Arc<Workflow>, u32)>,
    after: VecDeque<Atom>,
    /// Bytes of its text that are left out at the beginning.
    skip: usize,
}

impl Unfolding {
    fn of(thing: Thing) -> Self {
        let atom = match thing {
            Thing::Workflow(workflow) => return Self::workflow(workflow, None),
            Thing::Defined(workflow) => {
                let definition = workflow.definition().cloned();
                return Self::workflow(workflow, definition);
            }
            Thing::Server(server) => Atom::Server(server),
            Thing::Step(step, access) => Atom::Work(step, access),
            Thing::Reported(step) => Atom::Reported(step),
            Thing::Pattern(pattern) => Atom::Pattern(pattern),
        };
        Self {
            before: VecDeque::from([atom]),
            ..Self::default()
        }
    }

    fn workflow(workflow: Arc<Workflow>, definition: Option<Json>) -> Self {
        let outline = Json::of(&workflow.outline());
        let (head, tail) = outline
            .as_str()
            .split_once(NO_STEPS)
            .expect("a workflow's outline shows that it has no steps");
        let mut after = VecDeque::from([Atom::Words("]".to_owned())]);
        if let Some(definition) = definition {
            after.push_back(Atom::Words(",\"definition\":".to_owned()));
            after.push_back(Atom::Json(definition));
        }
        after.push_back(Atom::Words(tail.to_owned()));
        Self {
            before: VecDeque::from([Atom::Words(format!("{head}\"steps\":["))]),
            steps: Some((workflow, 0)),
            after,
            skip: 0,
        }
    }

    fn next_atom(&mut self) -> Option<Atom> {
        if let Some(atom) = self.before.pop_front() {
            return Some(atom);
        }
        if let Some((workflow, place)) = &mut self.steps
            && *place < workflow.total_steps()
        {
            let step = Atom::Step(workflow.clone(), *place);
            *place += 1;
            if *place > 1 {
                self.before.push_back(step);
                return Some(Atom::Words(",".to_owned()));
            }
            return Some(step);
        }
        self.after.pop_front()
    }
}

/// How a workflow without its steps shows them. It can't stand within a text, whose quotes would be escaped.
const NO_STEPS: &str = "\"steps\":[]";

/// A stretch of what is written, the rest dropped.
struct Window<'a> {
    /// Bytes before it.
    skip: usize,
    /// Bytes that it still takes.
    room: usize,
    out: &'a mut Vec<u8>,
    /// Something came after it.
    is_full: bool,
}

impl io::Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let wanted = &bytes[skipped..];
        let taken = wanted.len().min(self.room);
        if taken == 0 && !wanted.is_empty() {
            self.is_full = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.out.extend_from_slice(&wanted[..taken]);
        self.room -= taken;
        Ok(skipped + taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a look at ordered things ended.
pub(super) enum Looked<'a, T> {
    /// At one that is wanted.
    At(&'a T),
    /// At one that isn't, after [`LOOKS`] of them.
    Tired(&'a T),
    /// At the end.
    Nothing,
}

/// Looks for the first wanted one.
pub(super) fn look<'a, T>(
    things: impl Iterator<Item = &'a T>,
    is_wanted: impl Fn(&T) -> bool,
) -> Looked<'a, T> {
    for (before, thing) in things.enumerate() {
        if is_wanted(thing) {
            return Looked::At(thing);
        }
        if before + 1 == LOOKS {
            return Looked::Tired(thing);
        }
    }
    Looked::Nothing
}

/// What a list finds next.
pub(super) enum Found {
    /// A thing, and the place right after it.
    One(Thing, String),
    /// Nothing yet, after [`LOOKS`] looks.
    Later,
    /// Nothing more; where not everything was looked at, the place to go on after.
    End(Option<String>),
}

/// A page of things: `{"NAME": […], "nextCursor": …}`. It ends when it holds `limit` of them, or [`PAGE_BYTES`].
pub(super) struct Listing<F, S> {
    name: &'static str,
    limit: usize,
    find: F,
    /// Makes a cursor of a place.
    seal: S,
    count: usize,
    /// The place right after the last thing on the page.
    place: Option<String>,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Beginning,
    Things,
    Ended,
}

impl<F, S> Listing<F, S>
where
    F: FnMut() -> Found + Send + 'static,
    S: Fn(&str) -> Option<String> + Send + 'static,
{
    pub(super) fn new(name: &'static str, limit: usize, find: F, seal: S) -> Self {
        Self {
            name,
            limit,
            find,
            seal,
            count: 0,
            place: None,
            stage: Stage::Beginning,
        }
    }

    fn end(&mut self, place: Option<String>) -> Part {
        self.stage = Stage::Ended;
        let Some(place) = place else {
            return Part::Words("],\"nextCursor\":null}".to_owned());
        };
        match (self.seal)(&place) {
            Some(cursor) => {
                let cursor = Json::of(&cursor);
                Part::Words(format!("],\"nextCursor\":{}}}", cursor.as_str()))
            }
            None => Part::Broken("the system gives no random bytes"),
        }
    }
}

impl<F, S> Parts for Listing<F, S>
where
    F: FnMut() -> Found + Send + 'static,
    S: Fn(&str) -> Option<String> + Send + 'static,
{
    fn expected(&self) -> u32 {
        of_page(self.limit)
    }

    fn next_part(&mut self, written: usize) -> Part {
        match self.stage {
            Stage::Beginning => {
                self.stage = Stage::Things;
                return Part::Words(format!("{{\"{}\":[", self.name));
            }
            Stage::Ended => return Part::End,
            Stage::Things => {}
        }
        match (self.find)() {
            Found::Later => Part::Later,
            Found::End(place) => self.end(place),
            // Only now is it known that there is another page.
            Found::One(..) if self.is_full(written) => {
                let place = self.place.take();
                self.end(place)
            }
            Found::One(thing, place) => {
                self.place = Some(place);
                self.count += 1;
                Part::Thing(if self.count > 1 { "," } else { "" }, thing)
            }
        }
    }
}

impl<F, S> Listing<F, S> {
    fn is_full(&self, written: usize) -> bool {
        self.count >= self.limit || (self.count > 0 && written >= PAGE_BYTES)
    }
}

/// One thing alone.
pub(super) struct Single {
    thing: Option<Thing>,
    /// Members beside its own, each behind its name.
    beside: Vec<(&'static str, Json)>,
}

impl Single {
    pub(super) fn of(thing: Thing) -> Text<Self> {
        Self::with(thing, Vec::new())
    }

    /// With members of which the thing has none.
    pub(super) fn with(thing: Thing, beside: Vec<(&'static str, Json)>) -> Text<Self> {
        Text::of(Self {
            thing: Some(thing),
            beside,
        })
    }
}

impl Parts for Single {
    fn next_part(&mut self, _written: usize) -> Part {
        let Some(thing) = self.thing.take() else {
            return Part::End;
        };
        if self.beside.is_empty() {
            return Part::Thing("", thing);
        }
        let mut members = "{".to_owned();
        for (name, value) in &self.beside {
            members.push_str(&format!("\"{name}\":{},", value.as_str()));
        }
        Part::Members(members, thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words(Vec<String>);

    impl Parts for Words {
        fn next_part(&mut self, _written: usize) -> Part {
            self.0.pop().map_or(Part::End, Part::Words)
        }
    }

    fn all(mut source: impl Source) -> (String, Vec<usize>) {
        let (mut text, mut pieces) = (Vec::new(), Vec::new());
        loop {
            let piece = source.next_piece().expect("made");
            pieces.push(piece.bytes.len());
            text.extend_from_slice(&piece.bytes);
            if !piece.more {
                return (String::from_utf8(text).expect("UTF-8"), pieces);
            }
        }
    }

    #[test]
    fn a_text_of_any_length_comes_in_pieces_that_join() {
        let words = [
            "a".repeat(30 * PIECE + 7),
            "b".to_owned(),
            "c".repeat(PIECE),
        ];
        let reversed = words.iter().rev().cloned().collect();
        let (text, pieces) = all(Text::of(Words(reversed)));
        assert_eq!(text, words.concat());
        assert!(pieces.iter().all(|bytes| *bytes <= 4 * PIECE), "{pieces:?}");
    }

    #[test]
    fn a_list_ends_by_number_or_by_bytes_and_says_where_it_goes_on() {
        let pattern = |n: usize, bytes: usize| {
            Arc::new(Pattern {
                name: format!("p{n}"),
                description: "d".repeat(bytes),
                enabled: true,
            })
        };
        // How many there are, of how many bytes; what is asked for; what is on the page.
        let mib = 1 << 20;
        for (there, bytes, limit, on_page) in [
            (0, 1, 3, 0),
            (3, 1, 3, 3),
            (4, 1, 3, 3),
            (9, mib, 100, 4),
            (3, 6 * mib, 100, 1),
        ] {
            let mut next = 0;
            let find = move || {
                next += 1;
                if next > there {
                    return Found::End(None);
                }
                Found::One(Thing::Pattern(pattern(next, bytes)), next.to_string())
            };
            let seal = |place: &str| Some(format!("after {place}"));
            let (text, _) = all(Text::of(Listing::new("things", limit, find, seal)));
            let page: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(page["things"].as_array().map(Vec::len), Some(on_page));
            let goes_on = (there > on_page).then(|| format!("after {on_page}"));
            assert_eq!(
                page["nextCursor"].as_str(),
                goes_on.as_deref(),
                "{there} of {bytes}"
            );
        }
    }
}
