//! Files that other systems wrote, and that an operator hands over.

use std::io::{Cursor, Write};

use country_adapter::diagnosis::efgs;
use country_adapter::diagnosis::gaen_export::{self, Period};
use gateway::store::archive;
use proto::ids::CountryCode;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::keys::SIGNER;

/// The first line of a store's archive.
const ARCHIVE: &[u8] = b"exchange-store-archive 1\n";
/// What the one file of an export begins with.
const EXPORT: &[u8] = b"EK Export v1    ";

fn country() -> CountryCode {
    CountryCode::new(276).expect("it is a country")
}

/// A batch of the European Federation Gateway Service.
pub(crate) fn efgs(octets: &[u8]) {
    for read in [efgs::read_any(octets), efgs::read(octets, country())] {
        let Ok((keys, left_out)) = read else { continue };
        assert!(keys.len() + left_out.len() <= octets.len(), "a key takes an octet at least");
        let mut places: Vec<_> = keys.iter().map(|(place, _)| *place).collect();
        places.extend(left_out.iter().map(|key| key.place));
        places.sort_unstable();
        assert!(places.iter().copied().eq(1..=places.len()), "each key is taken or left out, once");
    }
}

/// An export of keys as phones download it: the zip, and what is in a good one.
pub(crate) fn gaen_export(octets: &[u8]) {
    let inside = zipped(&[EXPORT, octets].concat());
    for file in [octets, &inside] {
        let _ = gaen_export::read(file, Some(SIGNER.public()));
        let Ok((keys, _)) = gaen_export::read(file, None) else { continue };
        let keys: Vec<_> = keys.into_iter().map(|(_, key)| key).collect();
        let period = Period { region: country(), start: 0, end: u64::from(u32::MAX) };
        let (written, count) = gaen_export::write(&keys, &period, &SIGNER);
        let (again, left_out) =
            gaen_export::read(&written, Some(SIGNER.public())).expect("what is written can be read");
        assert!(again.len() == count && left_out.is_empty() && count <= keys.len());
    }
}

fn zipped(export: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("export.bin", export), ("export.sig", &[])] {
        let written = zip.start_file(name, SimpleFileOptions::default()).map(|()| zip.write_all(content));
        written.expect("a zip in memory has a valid name").expect("memory takes what is written");
    }
    zip.finish().expect("a zip in memory can be finished").into_inner()
}

/// A store's archive; and one of a single frame whose checksum is right, so that its content is read.
pub(crate) fn archive(octets: &[u8]) {
    let _ = archive::verify(octets);
    let Some((kind, content)) = octets.split_first() else { return };
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut checksum = crc32fast::Hasher::new();
    [&[*kind][..], &length, content].iter().for_each(|part| checksum.update(part));
    let checksum = checksum.finalize().to_be_bytes();
    let framed = [ARCHIVE, &[*kind], &length, &checksum, content].concat();
    assert!(archive::verify(&framed[..]).is_err(), "no archive ends without its end");
}
