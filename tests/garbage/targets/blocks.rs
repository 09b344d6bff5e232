//! The row decoder alone. The input is the columns `first`, `last` and `ts_max`, eight bytes each, and the body.

use timeback_events::{
    domain::Record,
    event_log::sqlite::block::{Block, Packer, Span},
};

/// A block is read or refused; what is read out of it can be packed and read again, and a copy of it says the same.
pub(crate) fn check(input: &[u8]) {
    let Some((columns, body)) = input.split_at_checked(24) else {
        return;
    };
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| columns[at + n]));
    let span = Span {
        first: number(0),
        last: number(8),
        ts_max: number(16).cast_signed(),
    };
    let Some(block) = Block::parse(span, body) else {
        return;
    };
    let records: Vec<Record<'_>> = block.iter().collect();
    assert!(block.size() <= body.len());
    assert!(records.is_sorted_by(|a, b| a.sequence < b.sequence));
    for record in &records {
        assert!((span.first..=span.last).contains(&record.sequence));
        assert_eq!(block.get(record.sequence).as_ref(), Some(record));
    }
    let mut packer = Packer::default();
    packer.begin(span.first, i64::MIN);
    packer.push_block(&block);
    let (same, copy) = packer.finish();
    let copy = Block::parse(same, copy).expect("a copy is sound");
    assert!(same == span && copy.iter().eq(records.iter().copied()));
    for record in &records {
        packer.begin(record.sequence, i64::MIN);
        packer.push(record);
        let (alone, body) = packer.finish();
        let alone = Block::parse(alone, body).expect("what is packed is sound");
        assert_eq!(alone.get(record.sequence).as_ref(), Some(record));
    }
}
