//! A node's data drives: listed, or by its profile.

use super::{
    PlanReader,
    tree::Value,
    walker::{Field, Section, Table},
};
use crate::{
    DataDrive, DriveSelector, PlanFault, Profile, Profiles, Role,
    plan_rules::{self, words},
};

const DRIVE: Section = Section { name: "a drive", keys: &["device", "serial", "model", "min_gb", "wipe"] };

pub(super) struct DriveFault {
    pub(super) fault: PlanFault,
    nodes: usize,
}

impl PlanReader<'_> {
    pub(super) fn data_drives(&mut self, t: &Table<'_>) -> Field<Vec<DataDrive>> {
        let mut named: Vec<(String, String)> = Vec::new();
        let drives = self.walker.list(t, "data_drives", |w, path, at| {
            if let Value::Text(_) = at.value {
                let device = w.text_item(path, at, words::device)?;
                named.push((path.to_owned(), device.clone()));
                return Some(DataDrive::Device(device));
            }
            let drive = w.table(at, path.to_owned(), &DRIVE, &[])?;
            let device = w.text(&drive, "device", words::device);
            let serial = w.text(&drive, "serial", words::serial);
            let model = w.text(&drive, "model", words::model);
            let min_gb = w.integer(&drive, "min_gb", 1..=1_000_000);
            let wipe = w.boolean(&drive, "wipe").or(false);
            let by_device = !device.is_absent();
            let by_what_it_is = !(serial.is_absent() && model.is_absent() && min_gb.is_absent());
            if by_device && by_what_it_is {
                let why = "a path names one drive, and so does what it is: they may disagree";
                let instead = "write device alone, or serial, model and min_gb without it";
                w.fault(PlanFault::error("bad_selector", path, why, instead));
                return None;
            }
            if !by_device && !by_what_it_is {
                let why = "says nothing about the drive";
                w.fault(PlanFault::error(
                    "bad_selector",
                    path,
                    why,
                    "write serial, model or min_gb, such as { min_gb = 3000 }",
                ));
                return None;
            }
            let optional = |text: Field<String>| text.good().map(Some);
            if wipe == Some(true) && !by_device && serial.is_absent() {
                let why = "whichever drive fits loses what is on it";
                let instead = "name the drive by its serial number, if only one is meant";
                w.fault(PlanFault::error("wipes_any_drive", drive.key("wipe"), why, instead).as_warning());
            }
            if by_device {
                let device = device.good()?;
                named.push((path.to_owned(), device.clone()));
                return Some(match wipe? {
                    true => DataDrive::Selector(DriveSelector {
                        device: Some(device),
                        wipe: true,
                        ..DriveSelector::default()
                    }),
                    false => DataDrive::Device(device),
                });
            }
            let selector = DriveSelector {
                device: None,
                serial: if serial.is_absent() { None } else { optional(serial)? },
                model: if model.is_absent() { None } else { optional(model)? },
                min_gb: if min_gb.is_absent() { None } else { Some(min_gb.good()?) },
                wipe: wipe?,
            };
            named.extend(selector.serial.iter().map(|serial| (path.to_owned(), serial.clone())));
            Some(DataDrive::Selector(selector))
        });
        self.walker.faults.extend(plan_rules::check_unique(&named, "drive"));
        drives
    }

    /// A storage node's drives: those of the plan, else the profile's.
    pub(super) fn resolve_drives(
        &mut self,
        t: &Table<'_>,
        role: Role,
        listed: Field<Vec<DataDrive>>,
        profile: &str,
        profile_path: &str,
    ) -> Option<Vec<DataDrive>> {
        if !role.has_storage() {
            return listed.or(vec![]);
        }
        let profile = self.profiles.get(profile)?;
        let quantity = profile.data_quantity;
        let why = format!("{} has no data drives", profile.name);
        let drives = match listed {
            Field::Bad => return None,
            Field::Absent if quantity == 0 => {
                let why = format!("{why}, and nodes that hold data need some");
                let instead = format!(
                    "write profile = {:?}, or list data_drives in each such node, or give it the role compute",
                    self.profile_with_drives(profile)
                );
                let fault = PlanFault::error("profile_without_data_drives", profile_path, why, instead);
                self.drive_fault(fault.with_value(&profile.name));
                return None;
            }
            Field::Absent => profile.default_data_drives(),
            Field::Good(drives) => drives,
        };
        let listed = drives.len();
        let path = t.key("data_drives");
        if listed == 0 {
            let (why, instead) = (
                "a node that holds data needs a drive",
                "leave the key out to take the profile's drives, or list some",
            );
            self.walker.fault(PlanFault::error("empty_list", path, why, instead));
            return None;
        }
        self.check_sizes(&path, &drives, profile);
        if quantity == 0 {
            let why = format!("{why} by IBM's table; the drives that the plan lists are taken on trust");
            let instead =
                format!("make sure that they exist, or write profile = {:?}", self.profile_with_drives(profile));
            let fault = PlanFault::error("profile_without_data_drives", profile_path, why, instead);
            self.drive_fault(fault.with_value(&profile.name).as_warning());
        } else if listed > quantity {
            let why = format!("{listed} drives, and {} has {quantity}", profile.name);
            self.walker.fault(PlanFault::error("too_many_drives", path, why, format!("list {quantity} at most")));
        } else if listed == quantity {
            let why = format!(
                "all {quantity} data drives of {} hold data, so the controller VM boots from the first of them",
                profile.name
            );
            let instead = "leave one drive out to give the controller VM its own";
            self.walker.fault(PlanFault::error("cvm_shares_a_drive", path, why, instead).as_warning());
        }
        Some(drives)
    }

    /// No machine of the profile would have such a drive, which would show when it is paid for.
    fn check_sizes(&mut self, path: &str, drives: &[DataDrive], profile: &Profile) {
        let largest = profile.data_gb.max(profile.boot_gb);
        for (at, drive) in drives.iter().enumerate() {
            let DataDrive::Selector(DriveSelector { min_gb: Some(min_gb), .. }) = drive else { continue };
            // Of a profile without data drives nothing is known.
            if profile.data_quantity > 0 && *min_gb > largest {
                let why = format!("no drive of {} is that large: its largest has {largest} GB", profile.name);
                let instead = format!("write {} at most, or another profile", profile.data_gb);
                let fault = PlanFault::error("drive_too_large", format!("{path}[{at}].min_gb"), why, instead);
                self.walker.fault(fault.with_value(min_gb.to_string()));
            }
        }
    }

    /// "By the profile" can only be said of what the profile says.
    pub(super) fn check_drives_of_profile(&mut self, t: &Table<'_>, profile: &str, role: Role, drives: &[DataDrive]) {
        let Some(profile) = self.profiles.get(profile) else { return };
        let profiles = if role.has_storage() { profile.default_data_drives() } else { vec![] };
        if profiles != drives {
            let why = "the drives that data_drives lists are not those of the profile";
            self.not_by_profile(t, why, "leave data_drives out, or this key");
        }
    }

    pub(super) fn not_by_profile(&mut self, t: &Table<'_>, why: &str, instead: &str) {
        let fault = PlanFault::error("drives_not_by_profile", t.key("data_drives_by"), why, instead);
        self.walker.fault(fault.with_value("profile"));
    }

    /// The same machine with local drives, by IBM's way of naming: `bx2d-…` for `bx2-…`.
    fn profile_with_drives(&self, profile: &Profile) -> String {
        let sibling = profile.name.replacen("-metal-", "d-metal-", 1);
        self.profiles.get(&sibling).map_or(Profiles::DEFAULT.to_owned(), |sibling| sibling.name.clone())
    }

    fn drive_fault(&mut self, fault: PlanFault) {
        let key = (fault.path.clone(), fault.code, fault.is_error());
        self.drive_faults.entry(key).or_insert(DriveFault { fault, nodes: 0 }).nodes += 1;
    }

    pub(super) fn tell_drive_faults(&mut self) {
        for DriveFault { mut fault, nodes } in std::mem::take(&mut self.drive_faults).into_values() {
            if nodes > 1 {
                fault.why = format!("{} ({nodes} nodes)", fault.why);
            }
            self.walker.fault(fault);
        }
    }
}
