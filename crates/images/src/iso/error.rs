//! What can be wrong with an image that was called an ISO.

use std::io;

/// Why an ISO can't be read. Permanent, but for what the system says while reading.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// The file below can't be read.
    #[error("it can't be read at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// What the system says.
        source: io::Error,
    },
    /// No volume descriptor where ISO 9660 has its first.
    #[error("it is no ISO 9660 image")]
    NotAnIso,
    /// A UDF file system without an ISO 9660 one beside it.
    #[error("it holds a UDF file system alone, and no ISO 9660 one")]
    UdfAlone,
    /// Something lies behind the end: the download broke off.
    #[error("it is cut short: {there} bytes are there, and {wanted} are needed")]
    CutShort {
        /// Bytes there are.
        there: u64,
        /// Bytes the image speaks of.
        wanted: u64,
    },
    /// The structure contradicts itself.
    #[error("it is damaged at byte {at}: {why}")]
    Damaged {
        /// Where the bad structure begins.
        at: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More of something than any real image has: a bound on memory and time.
    #[error("it has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A file in a form that is not read.
    #[error("{path} is stored {how}, which is not read")]
    Unsupported {
        /// The file.
        path: String,
        /// The form.
        how: &'static str,
    },
}

impl IsoError {
    /// Whether the same may work later without anybody doing something.
    pub fn is_transient(&self) -> bool {
        matches!(self, IsoError::Read { source, .. } if source.kind() == io::ErrorKind::Interrupted)
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            IsoError::Read { .. } => "look at the system's log for faults of the disk or the file system",
            IsoError::NotAnIso | IsoError::UdfAlone => {
                "give the installer's ISO as it was downloaded, or its files with --kernel, --initrd and --file"
            }
            IsoError::CutShort { .. } | IsoError::Damaged { .. } | IsoError::TooMuch { .. } => {
                "download it again, and compare its digest with the one its vendor publishes"
            }
            IsoError::Unsupported { .. } => {
                "copy its files out of it by other means, and give them with --kernel, --initrd and --file"
            }
        }
    }
}
