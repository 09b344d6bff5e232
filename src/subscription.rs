//! One reader: a cursor and a filter over tail and log.
