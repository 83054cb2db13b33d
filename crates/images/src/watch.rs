//! Who looks on while something takes long.

/// Gets told how far it is, and may end it.
pub trait Watch: Sync {
    /// Something of that many bytes begins.
    fn begin(&self, what: &str, bytes: u64);
    /// So many more are done.
    fn advance(&self, bytes: u64);
    /// Asked between two pieces of work: `true` ends it, and nothing stays behind.
    fn is_stopped(&self) -> bool;
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _what: &str, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn is_stopped(&self) -> bool {
        false
    }
}
