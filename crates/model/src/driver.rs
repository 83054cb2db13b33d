//! The ways to form a cluster, what a controller VM shows of them without being asked for anything secret, and which one
//! is taken.

use crate::{FormationChoice, NodeRecord};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A way to form a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// `cluster create` over SSH on a controller VM.
    CvmSsh,
    /// Prism's REST API, `POST v2.0/clusters`, on port 9440.
    Prism,
    /// Foundation on port 8000.
    Foundation,
}

impl Driver {
    /// In the order in which `auto` prefers them: published sources show `cluster create` to work on current releases,
    /// and neither of the others on all.
    pub const ALL: [Driver; 3] = [Driver::CvmSsh, Driver::Prism, Driver::Foundation];

    /// The word in plans and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Driver::CvmSsh => "cvm-ssh",
            Driver::Prism => "prism",
            Driver::Foundation => "foundation",
        }
    }

    /// Whether its nodes' passwords can be changed before the cluster is created, so that no default is ever in force on
    /// it: whoever logs in to the controller VMs to create it can also change them.
    pub fn changes_passwords_first(self) -> bool {
        self == Driver::CvmSsh
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FormationChoice {
    /// The word in plans and on the wire.
    pub fn as_str(self) -> &'static str {
        self.forced().map_or("auto", Driver::as_str)
    }

    /// The choice of that word.
    pub fn parse(word: &str) -> Option<FormationChoice> {
        let all = [FormationChoice::Auto, FormationChoice::Prism, FormationChoice::Foundation, FormationChoice::CvmSsh];
        all.into_iter().find(|choice| choice.as_str() == word)
    }

    /// The driver that was asked for; `None`: whichever the nodes offer.
    pub fn forced(self) -> Option<Driver> {
        match self {
            FormationChoice::Auto => None,
            FormationChoice::Prism => Some(Driver::Prism),
            FormationChoice::Foundation => Some(Driver::Foundation),
            FormationChoice::CvmSsh => Some(Driver::CvmSsh),
        }
    }
}

/// What one port of a controller VM answers when nothing secret is said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offer {
    /// Nothing listens.
    Refused,
    /// No answer within the limit.
    Silent,
    /// Something answers that isn't the service itself (yet): a reset, a gateway's error page.
    Starting,
    /// The service answers.
    Offered,
}

impl Offer {
    fn in_words(self) -> &'static str {
        match self {
            Offer::Refused => "nothing listens",
            Offer::Silent => "no answer",
            Offer::Starting => "starting",
            Offer::Offered => "answers",
        }
    }
}

/// What a controller VM offers, by driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surface {
    /// SSH.
    pub cvm_ssh: Offer,
    /// Prism.
    pub prism: Offer,
    /// Foundation.
    pub foundation: Offer,
}

impl Surface {
    /// What it offers of a driver.
    pub fn of(&self, driver: Driver) -> Offer {
        match driver {
            Driver::CvmSsh => self.cvm_ssh,
            Driver::Prism => self.prism,
            Driver::Foundation => self.foundation,
        }
    }

    /// The drivers it offers, best first.
    pub fn offered(&self) -> impl Iterator<Item = Driver> {
        Driver::ALL.into_iter().filter(|driver| self.of(*driver) == Offer::Offered)
    }

    /// What a person reads.
    pub fn in_words(&self) -> String {
        let part = |name: &str, offer: Offer| format!("{name}: {}", offer.in_words());
        [part("SSH", self.cvm_ssh), part("Prism", self.prism), part("Foundation", self.foundation)].join(", ")
    }
}

/// So many times longer than anything else, what says that it is starting is waited for: Prism has shown its page for minutes.
const STARTING: u32 = 20;

/// The driver `auto` takes for a controller VM that has shown this for so long; `None`: too early to say.
///
/// On a controller VM that is still starting a lesser one may answer first. So Foundation alone is believed only once that has
/// stood for `settle`, and so is any driver while a better one is silent; one that is starting is waited for longer still.
/// What refuses connections is decided.
pub fn choose_driver(surface: &Surface, for_so_long: Duration, settle: Duration) -> Option<Driver> {
    let best = surface.offered().next()?;
    let of_best = if best == Driver::Foundation { settle } else { Duration::ZERO };
    let better = Driver::ALL.into_iter().take_while(|driver| *driver != best);
    let patience = better.map(|driver| match surface.of(driver) {
        Offer::Refused | Offer::Offered => Duration::ZERO,
        Offer::Silent => settle,
        Offer::Starting => settle * STARTING,
    });
    (for_so_long >= patience.max().unwrap_or_default().max(of_best)).then_some(best)
}

/// The driver `auto` takes for nodes that have shown all this: the one that was chosen for all, or the best that all offer.
pub(crate) fn driver_for_all(nodes: &[&NodeRecord]) -> Option<Driver> {
    let chosen = |driver: &Driver| nodes.iter().all(|n| n.cvm.driver == Some(*driver));
    let offered =
        |driver: &Driver| nodes.iter().all(|n| n.cvm.surface.is_some_and(|s| s.offered().any(|d| d == *driver)));
    let find = |wanted: &dyn Fn(&Driver) -> bool| Driver::ALL.into_iter().find(|driver| wanted(driver));
    find(&chosen).or_else(|| find(&offered)).filter(|_| !nodes.is_empty())
}
