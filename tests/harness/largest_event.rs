//! The largest event that Lambda gives a function: 10,000 records, as many as a batch may have, in just below 6 MB, as much as
//! an invocation may carry ("Lambda quotas", AWS Lambda Developer Guide).

use std::fmt::Write as _;

use crate::workload::STREAM;

/// Records of the event.
pub const RECORDS: usize = 10_000;
/// What an invocation may carry.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;

/// The event. Every record inserts a note of its own.
#[must_use]
pub fn largest_event() -> String {
    let mut event = String::with_capacity(PAYLOAD_BYTES_MAX);
    event.push_str("{\"Records\":[");
    for number in 0..RECORDS {
        let comma = if number == 0 { "" } else { "," };
        let second = 1_774_778_400 + number / 100;
        let _ = write!(
            event,
            "{comma}{{\"eventID\":\"{number:032x}\",\"eventName\":\"INSERT\",\"eventVersion\":\"1.1\",\
             \"eventSource\":\"aws:dynamodb\",\"awsRegion\":\"eu-west-1\",\"dynamodb\":{{\
             \"ApproximateCreationDateTime\":{second},\"Keys\":{{\"noteId\":{{\"S\":\"note-{number:08}\"}}}},\
             \"NewImage\":{{\"noteId\":{{\"S\":\"note-{number:08}\"}},\"content\":{{\"S\":\"a note of some words, number {number}\"}},\
             \"stars\":{{\"N\":\"{number}\"}},\"author\":{{\"S\":\"author {:04}\"}}}},\
             \"SequenceNumber\":\"4421584500000000{number:012}\",\"SizeBytes\":97,\
             \"StreamViewType\":\"NEW_AND_OLD_IMAGES\"}},\"eventSourceARN\":\"{STREAM}\"}}",
            number % 977
        );
    }
    event.push_str("]}");
    event
}
