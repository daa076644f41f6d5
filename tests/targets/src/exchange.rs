//! What adapters and gateways send each other.

use bytes::Bytes;
use gateway::peers::PeerError;
use prost::Message;
use proto::batch::{Manifest, Receipt, SignedBatch};
use proto::body::Reports;
use proto::day::Day;
use proto::push::Push;
use proto::report::{JsonReport, Report};
use proto::wire;
use tonic::{Code, Status};

/// A report of either kind, as octets.
pub(crate) fn report(octets: &[u8]) {
    let Ok(report) = Report::decode(octets) else { return };
    let mut again = Vec::new();
    report.encode(&mut again);
    assert_eq!(again, octets, "a report has one form");
    let _ = report.check_age(Day::new(20_781));
    let json = JsonReport::from_report(&report);
    assert_eq!(json.to_octets().expect("a good report is good as JSON"), octets);
}

/// Reports as JSON, alone and as a list.
pub(crate) fn report_json(octets: &[u8]) {
    if let Ok(report) = JsonReport::parse(octets)
        && let Ok(encoded) = report.to_octets()
    {
        Report::decode(&encoded).expect("what is encoded can be decoded");
    }
    if let Ok(list) = JsonReport::parse_list(octets) {
        for report in list.into_iter().flatten() {
            let _ = report.to_octets();
        }
    }
}

/// A push as its adapter sends it.
pub(crate) fn push(octets: &[u8]) {
    let Ok(message) = wire::PushRequest::decode(octets) else { return };
    let Ok(push) = Push::parse(message.clone()) else { return };
    assert_eq!(push.headers().len(), push.envelopes());
    assert!(push.aad("826/1".parse().expect("it is an authority")).len() > push.headers().len());
    assert_eq!(push.into_wire(), message);
}

/// The framed reports in an opened push and in an opened batch.
pub(crate) fn body(octets: &[u8]) {
    for reports in [Reports::of_push(octets), Reports::of_batch(octets)] {
        let read: Result<Vec<_>, _> = reports.collect();
        if let Ok(read) = read {
            assert!(read.iter().map(|report| report.len() + 2).sum::<usize>() <= octets.len());
        }
    }
}

/// What an origin has signed about a batch.
pub(crate) fn manifest(octets: &[u8]) {
    if let Ok(manifest) = Manifest::parse(octets) {
        assert_eq!(manifest.octets(), octets, "a manifest has one form");
    }
}

/// What a destination has signed about what it got.
pub(crate) fn receipt(octets: &[u8]) {
    if let Ok(receipt) = Receipt::parse(octets) {
        assert_eq!(receipt.octets(), octets, "a receipt has one form");
    }
}

/// A batch as a peer serves it, and as the store keeps it.
pub(crate) fn batch(octets: &[u8]) {
    if let Ok(message) = wire::SignedBatch::decode(octets)
        && let Ok(batch) = SignedBatch::parse(message.clone())
    {
        let kept = SignedBatch::from_parts(&batch.head(), batch.sealed.clone());
        assert_eq!(kept.expect("what is kept can be read").into_wire(), message);
    }
    let _ = SignedBatch::from_parts(&Bytes::copy_from_slice(octets), Bytes::new());
    let _ = wire::PullReply::decode(octets);
    let _ = wire::DeliveryPullReply::decode(octets);
    let _ = wire::AcknowledgeRequest::decode(octets);
}

/// The details of an error that a peer answers: read by the loop that pulls, and by the adapter.
pub(crate) fn status(octets: &[u8]) {
    let details = Bytes::copy_from_slice(octets);
    let status = Status::with_details(Code::ResourceExhausted, String::from_utf8_lossy(octets), details);
    let _ = country_adapter::gateway::CallError::from(status.clone()).pause();
    let country = proto::ids::CountryCode::new(250).expect("it is a country");
    let error = PeerError::Answer { country, status: Box::new(status) };
    let _ = (error.pause(), error.lost());
    assert!(!error.to_string().contains('\n'), "it goes into a log, on one line");
}
