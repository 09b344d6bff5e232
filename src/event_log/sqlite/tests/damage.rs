//! A damaged log never serves a wrong event as right, and says what it can't serve.
