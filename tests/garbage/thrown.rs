//! The targets: what is kept, as it is and mutated by the thousand.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{
    cases, corpus,
    mutate::mutated,
    targets::{self, Target},
};

/// Cases of a target that takes microseconds, and of one that reads from the disk.
const MANY: u64 = 20_000;
const FEW: u64 = 1_500;

#[test]
fn queries_are_read_or_refused_and_a_selection_can_be_written_out() {
    throw("queries", targets::queries::check, MANY);
}

#[test]
fn a_filter_finds_in_the_index_what_it_finds_event_by_event() {
    throw("filters", targets::filters::check, FEW);
}

#[test]
fn an_id_that_is_taken_is_written_back_as_it_came_and_breaks_no_line() {
    throw("ids", targets::ids::check, MANY);
}

#[test]
fn bodies_are_read_or_refused_with_a_pointer_and_what_is_taken_reads_back_from_the_log() {
    throw("bodies", targets::bodies::check, MANY);
}

#[test]
fn events_are_read_or_refused_and_what_is_given_out_as_a_cloud_event_is_taken_in_again() {
    throw("events", targets::events::check, MANY);
}

#[test]
fn a_record_is_read_or_refused_and_folding_it_never_fails() {
    throw("records", targets::records::check, MANY);
}

#[test]
fn a_block_of_any_bytes_is_read_or_refused() {
    throw("blocks", targets::blocks::check, MANY);
}

#[test]
fn rows_of_any_bytes_are_never_served_as_right() {
    throw("rows", targets::rows::check, FEW);
}

fn throw(name: &str, target: Target, by_default: u64) {
    let seeds = corpus::inputs(name);
    for (line, seed) in (1..).zip(&seeds) {
        if let Err(broken) = catch_unwind(AssertUnwindSafe(|| target(seed))) {
            eprintln!("failed on line {line} of tests/corpus/{name}.jsonl");
            resume_unwind(broken);
        }
    }
    for (mut case, mut chance) in cases(by_default) {
        let seed = chance.pick(&seeds);
        let input = mutated(&mut chance, seed, &seeds);
        case.note(input.escape_ascii().to_string());
        target(&input);
    }
}
