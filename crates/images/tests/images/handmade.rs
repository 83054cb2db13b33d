//! Small images by hand: what `xorriso` wouldn't make, or not in a moment.

const SECTOR: usize = 2048;
/// Root folder; contents follow.
const ROOT: usize = 18;

/// An image with files in its root folder, and nothing but plain names.
pub struct Handmade {
    records: Vec<u8>,
    contents: Vec<u8>,
}

impl Handmade {
    pub fn new() -> Handmade {
        let mut records = record(&[0], ROOT, SECTOR, 2);
        records.extend(record(&[1], ROOT, SECTOR, 2));
        Handmade { records, contents: Vec::new() }
    }

    /// A file in parts; all but the last say that another follows.
    pub fn file(mut self, name: &[u8], parts: &[&[u8]]) -> Handmade {
        for (at, part) in parts.iter().enumerate() {
            let flags = if at + 1 < parts.len() { 0x80 } else { 0 };
            let block = ROOT + 1 + self.contents.len() / SECTOR;
            self.records.extend(record(name, block, part.len(), flags));
            self.contents.extend_from_slice(part);
            self.contents.resize(self.contents.len().next_multiple_of(SECTOR), 0);
        }
        self
    }

    /// Any record.
    pub fn raw(mut self, record: &[u8]) -> Handmade {
        self.records.extend_from_slice(record);
        self
    }

    pub fn build(self) -> Vec<u8> {
        let mut image = vec![0; 16 * SECTOR];
        let blocks = ROOT + 1 + self.contents.len() / SECTOR;
        let mut primary = vec![0; SECTOR];
        primary[..7].copy_from_slice(b"\x01CD001\x01");
        primary[40..72].copy_from_slice(format!("{:32}", "PHOENIX").as_bytes());
        both(&mut primary[80..88], blocks);
        primary[120..124].copy_from_slice(&[1, 0, 0, 1]);
        primary[124..128].copy_from_slice(&[1, 0, 0, 1]);
        primary[128..132].copy_from_slice(&[0, 8, 8, 0]);
        // Nobody reads the path tables any more, but `bsdtar` wants them to lie somewhere.
        primary[140..144].copy_from_slice(&19_u32.to_le_bytes());
        primary[148..152].copy_from_slice(&19_u32.to_be_bytes());
        primary[156..190].copy_from_slice(&record(&[0], ROOT, SECTOR, 2));
        primary[881] = 1;
        image.extend(primary);
        let mut end = vec![0; SECTOR];
        end[..7].copy_from_slice(b"\xffCD001\x01");
        image.extend(end);
        assert!(self.records.len() <= SECTOR);
        image.extend(&self.records);
        image.resize((ROOT + 1) * SECTOR, 0);
        image.extend(self.contents);
        image
    }
}

/// One record of a folder.
pub fn record(name: &[u8], block: usize, len: usize, flags: u8) -> Vec<u8> {
    let mut record = vec![0; 33];
    both(&mut record[2..10], block);
    both(&mut record[10..18], len);
    record[25] = flags;
    record[28..32].copy_from_slice(&[1, 0, 0, 1]);
    record[32] = u8::try_from(name.len()).unwrap();
    record.extend_from_slice(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len()).unwrap();
    record
}

fn both(place: &mut [u8], number: usize) {
    let number = u32::try_from(number).unwrap();
    place[..4].copy_from_slice(&number.to_le_bytes());
    place[4..].copy_from_slice(&number.to_be_bytes());
}
