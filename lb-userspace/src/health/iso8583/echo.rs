//! The network management echo: 0800 with network management information code 301 (element 70), answered by 0810 with
//! the same systems trace audit number (element 11) and response code 00 (element 39).

use super::Message;
use std::time::SystemTime;
use time::OffsetDateTime;

/// Transmission date and time.
pub const TRANSMISSION: u8 = 7;
/// Systems trace audit number, by which a question finds its answer.
pub const TRACE: u8 = 11;
/// Response code.
pub const RESPONSE: u8 = 39;
/// Network management information code.
pub const INFORMATION: u8 = 70;

/// Message type of a network management request.
pub const REQUEST: u16 = 800;
/// Message type of its response.
pub const ANSWER: u16 = 810;
/// Network management information code of an echo.
pub const ECHO: &str = "301";
/// Response code of what is approved.
pub const APPROVED: &str = "00";
/// One more than the largest trace number: six digits.
const TRACES: u32 = 1_000_000;

/// Why an answer does not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is another message.
    #[error("answered with {0:04}, not 0810")]
    Kind(u16),
    /// It answers another question.
    #[error("answered with trace number {0:?} (element 11), not with that of the question")]
    Trace(String),
    /// It refuses.
    #[error("answered with response code {0:?} (element 39), not \"00\"")]
    Response(String),
}

/// An element 11 from a running number: 000001 to 999999, then again.
#[must_use]
pub fn trace(number: u32) -> String {
    format!("{:06}", number % (TRACES - 1) + 1)
}

/// An element 7: month, day, hour, minute and second of UTC.
#[must_use]
pub fn transmission(now: SystemTime) -> String {
    let utc = OffsetDateTime::from(now);
    let (month, day) = (u8::from(utc.month()), utc.day());
    format!("{month:02}{day:02}{:02}{:02}{:02}", utc.hour(), utc.minute(), utc.second())
}

/// The question.
#[must_use]
pub fn request(trace: &str, now: SystemTime) -> Message {
    Message::new(REQUEST).with(TRANSMISSION, transmission(now)).with(TRACE, trace).with(INFORMATION, ECHO)
}

/// Whether a message is a good answer to the question with this trace number.
///
/// # Errors
/// Any of [`Unfit`].
pub fn judge(trace: &str, answer: &Message) -> Result<(), Unfit> {
    let text = |number| answer.get(number).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    if answer.kind != ANSWER {
        return Err(Unfit::Kind(answer.kind));
    }
    if answer.text(TRACE) != Some(trace) {
        return Err(Unfit::Trace(text(TRACE)));
    }
    if answer.text(RESPONSE) != Some(APPROVED) {
        return Err(Unfit::Response(text(RESPONSE)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_is_that_of_utc() {
        // `date -u -d @1770210901 +%m%d%H%M%S`, and a leap day.
        for (seconds, text) in
            [(1_770_210_901, "0204131501"), (1_709_251_199, "0229235959"), (0, "0101000000")]
        {
            assert_eq!(transmission(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn trace_numbers_have_six_digits_and_are_never_0() {
        for (number, text) in [(0, "000001"), (999_998, "999999"), (999_999, "000001"), (u32::MAX, "971590")]
        {
            assert_eq!(trace(number), text);
        }
    }

    #[test]
    fn answers_are_judged() {
        let good = Message::new(810).with(TRACE, "000123").with(RESPONSE, "00");
        let told = |answer: &Message| judge("000123", answer).unwrap_err().to_string();
        assert_eq!(judge("000123", &good), Ok(()));
        assert_eq!(judge("000123", &good.clone().with(INFORMATION, "301")), Ok(()));
        assert_eq!(told(&Message { kind: 800, ..good.clone() }), "answered with 0800, not 0810");
        assert_eq!(
            told(&good.clone().with(TRACE, "000124")),
            "answered with trace number \"000124\" (element 11), not with that of the question"
        );
        assert_eq!(
            told(&good.clone().with(RESPONSE, "91")),
            "answered with response code \"91\" (element 39), not \"00\""
        );
        assert_eq!(
            told(&Message::new(810).with(TRACE, "000123")),
            "answered with response code \"\" (element 39), not \"00\""
        );
    }
}
