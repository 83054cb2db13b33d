//! What comes next, as tables: every phase with the facts that matter, for nodes and clusters; and what holds for any
//! record at all.

mod accounts;
mod anything;
mod cleaning;
mod cluster;
mod cluster_rig;
mod cluster_walks;
mod drivers;
mod explain;
mod folds;
mod formation;
mod looking_first;
mod node;
mod properties;
mod release;
mod rig;
mod status;
mod walks;
