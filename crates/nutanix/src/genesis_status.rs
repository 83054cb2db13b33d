//! What `genesis status` prints, read: a line for each service, `genesis: [2187, 2230]`, `foundation: []`.
//!
//! Up is who has processes. Rejected: looking for words like "running" or "started", as a published pipeline does.

/// The services that run before any cluster does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GenesisStatus {
    /// Each service with its processes.
    pub services: Vec<(String, Vec<u32>)>,
    /// The text it was read from.
    pub said: String,
}

impl GenesisStatus {
    pub(crate) fn parse(text: &str) -> Self {
        let services = text
            .lines()
            .filter_map(|line| {
                let (name, pids) = line.split_once(':')?;
                Some((name.trim().to_owned(), pids_of(pids.trim())?))
            })
            .collect();
        Self { services, said: text.to_owned() }
    }

    /// Whether genesis itself runs. Foundation may be switched off and is not looked at.
    pub fn is_up(&self) -> bool {
        self.runs("genesis")
    }

    /// Whether this service has processes.
    pub fn runs(&self, service: &str) -> bool {
        self.services.iter().any(|(name, pids)| name == service && !pids.is_empty())
    }
}

/// Process ids in brackets, `[1, 2]`. None if it is anything else.
pub(crate) fn pids_of(text: &str) -> Option<Vec<u32>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.split(',').map(str::trim).filter(|pid| !pid.is_empty()).map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_is_who_has_processes() {
        let status = GenesisStatus::parse("  foundation: []\n  genesis: [2187, 2230]\n");
        assert!(status.is_up());
        assert!(!status.runs("foundation"));
        assert_eq!(status.services[1], ("genesis".to_owned(), vec![2187, 2230]));
    }

    #[test]
    fn words_do_not_make_it_up() {
        for text in ["", "genesis: []", "genesis: running", "genesis: [a]", "genesis started [12]", "foundation: [12]"]
        {
            assert!(!GenesisStatus::parse(text).is_up(), "{text}");
        }
    }
}
