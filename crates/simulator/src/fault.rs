//! Faults are data: what goes wrong, where, how often, and where the same was seen in the world.
//!
//! A fault is armed in a [`Faults`] list and taken by the part of the world it concerns: the cloud asks for
//! [`CloudFault`]s, machines for [`MachineFault`]s, CVMs for [`CvmFault`]s. Taking is counted, so the same list and the
//! same requests give the same run. Probabilities were rejected: "the second create loses its reply" can be read in a
//! test, "every tenth" can't.

mod builtin;

pub use builtin::{BUILTINS, Builtin, builtin, builtin_names};

use serde::{Deserialize, Serialize};

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What it is called in logs and on the command line.
    pub name: String,
    /// What it strikes; by default everything its effect can strike.
    #[serde(default)]
    pub matches: Matches,
    /// So many matching occasions pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// Then so many are struck; `null`: all from then on.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// What happens.
    pub effect: FaultEffect,
}

fn once() -> Option<u32> {
    Some(1)
}

/// Which occasions a fault strikes: all that is stated must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matches {
    /// The method, exactly; only requests have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A part of the path; with a `$` at its end, the path's end. Only requests have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A part of the name of the server (for the cloud: the resource, where it is known).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An occasion on which something may go wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Occasion<'a> {
    /// Of a request.
    pub method: &'a str,
    /// Of a request.
    pub path: &'a str,
    /// Of the server or other resource.
    pub name: &'a str,
}

impl<'a> Occasion<'a> {
    /// Something that happens to a server, machine or CVM without a request.
    pub fn of(name: &'a str) -> Self {
        Occasion { name, ..Occasion::default() }
    }
}

impl Matches {
    fn hit(&self, occasion: &Occasion<'_>) -> bool {
        let path = |wanted: &str| match wanted.strip_suffix('$') {
            Some(end) => occasion.path.ends_with(end),
            None => occasion.path.contains(wanted),
        };
        self.method.as_deref().is_none_or(|m| m.eq_ignore_ascii_case(occasion.method))
            && self.path.as_deref().is_none_or(path)
            && self.name.as_deref().is_none_or(|n| occasion.name.contains(n))
    }
}

/// What happens, by the part of the world it happens in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultEffect {
    /// In IBM Cloud.
    Cloud(CloudFault),
    /// In a machine: firmware, iPXE, installer.
    Machine(MachineFault),
    /// In a CVM.
    Cvm(CvmFault),
}

/// Faults of the cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudFault {
    /// The request is refused with this status and without an effect.
    Status {
        /// 4xx or 5xx.
        status: u16,
        /// `errors[0].code`.
        code: String,
        /// `errors[0].message`.
        message: String,
        /// Seconds in `Retry-After`.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The request takes effect, and the connection closes without an answer.
    ReplyLost,
    /// The connection closes without an answer and without an effect.
    RequestLost,
    /// The answer comes so many wall-clock seconds late; the effect happens at once.
    Slow {
        /// Seconds, not divided by the world's speed.
        seconds: f64,
    },
    /// Creating a server would exceed the account's quota.
    Quota,
    /// IAM refuses the API key.
    ApiKeyRefused,
    /// A server being created becomes `failed`.
    ServerFails {
        /// One of the API's `status_reasons[].code`.
        reason: String,
    },
    /// A reinitialization ends in `failed` with `cannot_reinitialize`.
    ReinitializeFails,
    /// The server becomes `running`, but its machine never powers on.
    NeverBoots,
    /// The server stays `pending`.
    StaysPending,
    /// A soft stop is accepted and never ends.
    SoftStopNeverEnds,
    /// The server stays `deleting` for so many seconds of the simulated world.
    DeleteLingers {
        /// Seconds at speed 1.
        seconds: f64,
    },
    /// What was just created is missing from so many list calls.
    ListLag {
        /// How many list calls of its kind.
        calls: u32,
    },
}

/// Faults of a machine between power-on and the installed system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineFault {
    /// Power is on and nothing comes from the machine.
    NeverBoots,
    /// iPXE's `dhcp` fails so many times first.
    DhcpFails {
        /// How many times.
        times: u32,
    },
    /// The console mangles the query of the script URL: `&` arrives as `@`.
    UrlMangled,
    /// The machine resets by itself before the installer is done and boots again from the start.
    BootsTwice,
    /// A kernel or initrd download breaks off in the middle.
    DownloadBreaks,
    /// What was downloaded is not what was sent.
    WrongDigest,
    /// Somebody on the wire gives the machine another kernel: one that works.
    KernelChanged,
    /// Somebody on the wire takes the digests out of the boot script that is fetched.
    ScriptChanged,
    /// Somebody on the wire tells a script in user data that its boot attempt is open.
    AttemptForged,
    /// The installer stops without a word: no report, no reboot.
    InstallerHangs,
    /// The installer reports `failed`.
    InstallFails,
    /// Reports of the installer never arrive.
    ReportsLost,
    /// Over TLS its installer is answered with another certificate than its boot script pins.
    InTheMiddle,
    /// It installs another version than the other machines, and reports that.
    OtherVersion,
    /// Something is wrong with the hardware of an emulated machine.
    Hardware(HardwareFault),
}

/// What can be wrong with the hardware of an emulated machine, for its agent to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HardwareFault {
    /// The last two data drives aren't there. One alone would be made up for: a plan that names no drives leaves one over.
    DiskMissing,
    /// The last two data drives have half their size.
    DiskTooSmall,
    /// The first data drive holds a partition table of somebody.
    DiskHasPartitions,
    /// The first data drive is used as swap space by whatever runs in the initrd.
    DiskInUse,
    /// The network card is one that iPXE knows and the installer's kernel has no driver for.
    NicUnknown,
    /// A quarter of the memory is there.
    LittleMemory,
}

/// Faults of a CVM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CvmFault {
    /// Its services never come up: connections are refused. Where SSH comes first, genesis never comes up.
    NeverReady,
    /// It answers no call once it was ready (Prism, or `cluster status`, has answered): connections are refused.
    Dead,
    /// Its HTTP front answers 503 with an HTML page for a while after the port opens.
    HtmlErrors,
    /// A create fails; the next one is as if nothing had happened.
    FormationFails,
    /// A create is accepted and never ends; over SSH as [`CvmFault::ZeusNeverReady`].
    FormationHangs,
    /// A create begins, and its connection closes without an answer.
    CreateReplyLost,
    /// The cluster is up while the VIP still answers nothing for so many seconds of the simulated world.
    VipLate {
        /// Seconds at speed 1.
        seconds: f64,
    },
    /// The node says it is in a cluster already.
    AlreadyConfigured,
    /// A service of the formed cluster stays down.
    ServiceDown,
    /// While it is armed, packets between two CVMs are dropped, both ways: between the first by name that matches and the
    /// first other one.
    BlockedPair,
    /// While it is armed, the clock of the first CVM by name that matches is off.
    ClockSkew {
        /// Seconds; negative: it is slow.
        seconds: f64,
    },
    /// While it is armed, something that is no CVM has the address that a cluster is to have.
    VipTaken,
    /// While it is armed, another machine answers at the address of the first CVM by name that matches: the first other
    /// CVM, so two addresses lead to one machine.
    DuplicateAddress,
    /// A create does not discover a node until genesis was restarted on it.
    Undiscovered,
    /// A create fails and says this; `{ip}` stands for a member.
    CreateSays {
        /// The line.
        line: String,
        /// Some members are configured by then, the others are not.
        #[serde(default)]
        partial: bool,
    },
    /// A create says "Zeus is not ready yet" without an end.
    ZeusNeverReady,
    /// The CVM that was asked to create restarts in the middle of it.
    RebootsInCreate {
        /// Seconds after the beginning, at speed 1.
        seconds: f64,
    },
    /// The SSH connection is cut by which a create was begun.
    SshCut,
    /// A destroy leaves a node configured.
    DestroyLeavesNode,
    /// A service of the formed cluster comes and goes for a while.
    ServiceFlaps {
        /// Seconds at speed 1.
        seconds: f64,
    },
}

/// A fault with its count.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Armed {
    /// What was armed.
    pub fault: Fault,
    /// Matching occasions so far, struck or not.
    pub seen: u32,
    /// How many were struck.
    pub struck: u32,
}

/// The faults of a world, in the order they were added.
#[derive(Debug, Clone, Default)]
pub struct Faults(Vec<Armed>);

impl Faults {
    /// Arms a fault.
    pub fn add(&mut self, fault: Fault) {
        self.0.push(Armed { fault, seen: 0, struck: 0 });
    }

    /// All that were added, spent ones too.
    pub fn list(&self) -> &[Armed] {
        &self.0
    }

    /// Disarms the faults of that name; answers how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.0.len();
        self.0.retain(|armed| armed.fault.name != name);
        before - self.0.len()
    }

    /// Takes the first fault that strikes here. `wanted` picks the effects that make sense on this occasion; only those
    /// are counted.
    pub fn take<T>(&mut self, occasion: Occasion<'_>, wanted: impl Fn(&FaultEffect) -> Option<T>) -> Option<T> {
        for armed in &mut self.0 {
            let spent = armed.fault.times.is_some_and(|times| armed.struck >= times);
            if spent || !armed.fault.matches.hit(&occasion) {
                continue;
            }
            let Some(effect) = wanted(&armed.fault.effect) else { continue };
            armed.seen += 1;
            if armed.seen > armed.fault.skip {
                armed.struck += 1;
                return Some(effect);
            }
        }
        None
    }

    /// The first fault that holds as long as it is armed, however often it is looked at. `wanted` says whether it can hold
    /// here, from what it matches and what it does. Its count says that it struck, not how often.
    pub fn standing<T>(&mut self, wanted: impl Fn(&Matches, &FaultEffect) -> Option<T>) -> Option<T> {
        self.0.iter_mut().find_map(|armed| {
            let effect = wanted(&armed.fault.matches, &armed.fault.effect)?;
            (armed.seen, armed.struck) = (1, 1);
            Some(effect)
        })
    }

    /// [`Faults::take`] of a cloud fault.
    pub fn take_cloud(&mut self, occasion: Occasion<'_>, wanted: impl Fn(&CloudFault) -> bool) -> Option<CloudFault> {
        self.take(occasion, |effect| match effect {
            FaultEffect::Cloud(fault) if wanted(fault) => Some(fault.clone()),
            _ => None,
        })
    }

    /// [`Faults::take`] of a fault of the machine behind the server of that name.
    pub fn take_machine(&mut self, server: &str, wanted: impl Fn(&MachineFault) -> bool) -> Option<MachineFault> {
        self.take(Occasion::of(server), |effect| match effect {
            FaultEffect::Machine(fault) if wanted(fault) => Some(fault.clone()),
            _ => None,
        })
    }

    /// [`Faults::take`] of a fault of the CVM on the server of that name.
    pub fn take_cvm(&mut self, server: &str, wanted: impl Fn(&CvmFault) -> bool) -> Option<CvmFault> {
        self.take(Occasion::of(server), |effect| match effect {
            FaultEffect::Cvm(fault) if wanted(fault) => Some(fault.clone()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(skip: u32, times: Option<u32>) -> Fault {
        Fault {
            name: "lost".into(),
            matches: Matches {
                method: Some("POST".into()),
                path: Some("/bare_metal_servers$".into()),
                ..Matches::default()
            },
            skip,
            times,
            effect: FaultEffect::Cloud(CloudFault::ReplyLost),
        }
    }

    fn post(path: &str) -> Occasion<'_> {
        Occasion { method: "POST", path, name: "" }
    }

    #[test]
    fn a_fault_skips_then_strikes_then_is_spent() {
        let mut faults = Faults::default();
        faults.add(lost(1, Some(2)));
        let struck: Vec<bool> =
            (0..5).map(|_| faults.take_cloud(post("/v1/bare_metal_servers"), |_| true).is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
    }

    #[test]
    fn a_fault_strikes_only_where_it_matches() {
        let mut faults = Faults::default();
        faults.add(lost(0, None));
        assert!(faults.take_cloud(post("/v1/bare_metal_servers/0717-1/start"), |_| true).is_none());
        let get = Occasion { method: "GET", ..post("/v1/bare_metal_servers") };
        assert!(faults.take_cloud(get, |_| true).is_none());
        assert!(faults.take_machine("/v1/bare_metal_servers", |_| true).is_none());
        assert!(faults.take_cloud(post("/v1/bare_metal_servers"), |f| *f == CloudFault::Quota).is_none());
        assert_eq!(faults.list()[0].seen, 0, "an occasion that cannot be struck is not counted");
        assert!(faults.take_cloud(post("/v1/bare_metal_servers"), |_| true).is_some());
    }

    #[test]
    fn a_standing_fault_holds_until_it_is_taken_away() {
        let mut faults = Faults::default();
        let skew = |_: &Matches, effect: &FaultEffect| match effect {
            FaultEffect::Cvm(CvmFault::ClockSkew { seconds }) => Some(*seconds),
            _ => None,
        };
        assert_eq!(faults.standing(skew), None);
        faults.add(builtin("clock_skew").unwrap());
        assert_eq!([(); 3].map(|()| faults.standing(skew)), [Some(300.0); 3]);
        assert_eq!((faults.list()[0].seen, faults.list()[0].struck), (1, 1));
        assert_eq!(faults.standing(|matches, effect| skew(matches, effect).filter(|_| false)), None);
        faults.remove("clock_skew");
        assert_eq!(faults.standing(skew), None);
    }

    #[test]
    fn a_fault_is_read_from_json_with_defaults() {
        let fault: Fault = serde_json::from_str(
            r#"{"name":"late","matches":{"path":"/images"},"effect":{"cloud":{"slow":{"seconds":1.5}}}}"#,
        )
        .unwrap();
        assert_eq!((fault.skip, fault.times), (0, Some(1)));
        assert_eq!(fault.effect, FaultEffect::Cloud(CloudFault::Slow { seconds: 1.5 }));
        assert!(serde_json::from_str::<Fault>(r#"{"name":"x","effect":{"cloud":"quota"},"timse":2}"#).is_err());
    }

    #[test]
    fn every_builtin_fault_is_found_says_where_it_was_seen_and_survives_json() {
        for each in BUILTINS {
            let fault = builtin(each.name).unwrap();
            assert_eq!(fault.name, each.name);
            assert!(!each.what.is_empty() && !each.seen.is_empty(), "{}", each.name);
            assert_eq!(serde_json::from_str::<Fault>(&serde_json::to_string(&fault).unwrap()).unwrap(), fault);
        }
        let mut names = builtin_names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BUILTINS.len(), "two built-in faults share a name");
        assert!(builtin("no_such_fault").is_none());
    }
}
