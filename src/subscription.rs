//! What one reader asked for, and the place in the log where it starts. Never silent: a place that is gone
//! is answered with a gap and its reason.

use std::ops::ControlFlow;

use crate::{
    domain::Position,
    event_log::{Item, Located, LogInfo, LogReader, Order, ReadError, ReadRange},
    filter::{Filter, start::Start},
};

/// Longest `requestedId` that is told back, in bytes: as long as an id of ours can be.
const MAX_REQUESTED_LEN: usize = 128;

/// Events of the log that one step of the search for the last matching ones looks at.
const SEARCH_STEP: usize = 16 * 1024;

/// Where a stream begins relative to what its client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With the next event.
    Live,
    /// Right after the client's last event.
    Resumed,
    /// With older events.
    Replay,
    /// With the oldest kept event (or a snapshot), since the place is gone.
    Gap(Gone),
}

/// Why a place is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// An event after it was pruned.
    Expired,
    /// It belongs to another log.
    UnknownLog,
    /// It is no id at all.
    Malformed,
}

impl Verdict {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Resumed => "resumed",
            Self::Replay => "replay",
            Self::Gap(_) => "gap",
        }
    }

    /// Why there is a gap.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Gap(Gone::Expired) => Some("expired"),
            Self::Gap(Gone::UnknownLog) => Some("unknown_log"),
            Self::Gap(Gone::Malformed) => Some("malformed"),
            _ => None,
        }
    }
}

/// Where a stream starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// It delivers what comes after this sequence.
    pub after: u64,
    /// How that relates to what was asked.
    pub verdict: Verdict,
    /// The id that the client asked for, cut to a length that an id can have.
    pub requested: Option<String>,
    /// Where the log stood then.
    pub info: LogInfo,
}

/// Finds the place where a stream starts. May read the disk (`since`, `replay`); a snapshot's place is for
/// the caller to set, here it stands at the head.
///
/// # Errors
/// [`ReadError`].
pub fn locate(log: &dyn LogReader, filter: &Filter, start: &Start) -> Result<Place, ReadError> {
    let info = log.info();
    let oldest = info.floor.saturating_sub(1);
    let place = |after, verdict| Place {
        after,
        verdict,
        requested: None,
        info,
    };
    Ok(match start {
        Start::Live | Start::Snapshot => place(info.head, Verdict::Live),
        Start::After(id) if id == "earliest" => place(oldest, Verdict::Replay),
        Start::After(id) => {
            let (after, verdict) =
                match Position::parse(id).map(|at| info.locate(&log.epochs(), at)) {
                    Some(Located::Kept(after)) => (after, Verdict::Resumed),
                    Some(Located::Expired) => (oldest, Verdict::Gap(Gone::Expired)),
                    Some(Located::UnknownLog) => (oldest, Verdict::Gap(Gone::UnknownLog)),
                    None => (oldest, Verdict::Gap(Gone::Malformed)),
                };
            let cut = id
                .char_indices()
                .map(|(at, c)| at + c.len_utf8())
                .take_while(|end| *end <= MAX_REQUESTED_LEN);
            let requested = Some(id[..cut.last().unwrap_or(0)].to_owned());
            Place {
                after,
                verdict,
                requested,
                info,
            }
        }
        Start::Since(time) => {
            let found = log.place_at_time(*time)?;
            place(
                found.after,
                if found.pruned {
                    Verdict::Gap(Gone::Expired)
                } else {
                    Verdict::Replay
                },
            )
        }
        Start::Last(count) => place(
            before_last(log, filter, *count, oldest, info.head)?,
            Verdict::Replay,
        ),
    })
}

/// The place before the last `count` events up to `head` that match; before the oldest match where there are
/// fewer; `head` where there is none.
fn before_last(
    log: &dyn LogReader,
    filter: &Filter,
    count: u64,
    oldest: u64,
    head: u64,
) -> Result<u64, ReadError> {
    let (mut left, mut found, mut until) = (count, head, head);
    while left > 0 && until > oldest {
        let range = ReadRange {
            after: oldest,
            until,
            order: Order::Descending,
            scan_limit: SEARCH_STEP,
        };
        let scanned = log.read(&range, filter, &mut |item| {
            if let Item::Event(record) = item {
                found = record.sequence - 1;
                left -= 1;
            }
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if scanned.through >= until {
            break;
        }
        until = scanned.through;
    }
    Ok(found)
}
