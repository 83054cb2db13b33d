//! What comes next, as tables: every phase with the facts that matter, for nodes and clusters; and what holds for any
//! record at all.

mod cluster;
mod folds;
mod node;
mod properties;
mod release;
mod rig;
mod status;
mod walks;
