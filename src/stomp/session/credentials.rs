//! Credentials in the headers of a frame, by the names that clients write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::message::Credentials;
use crate::stomp::frame::Frame;

/// What a CONNECT or SUBSCRIBE says about who sent it: `login` and `passcode` before
/// `Authorization` before `X-Authorization` before `token` before `access_token`.
pub(super) fn credentials(frame: &Frame) -> Option<Credentials> {
    if let Some(login) = frame.header("login") {
        let passcode = frame.header("passcode").unwrap_or_default();
        return Some(Credentials::Password { login: login.into(), passcode: passcode.into() });
    }
    ["authorization", "x-authorization", "token", "access_token"].iter().find_map(|wanted| {
        let value = frame.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1.trim();
        (!value.is_empty()).then(|| of_text(value))
    })
}

/// Whether a header is one of those above, so that it is no one else's business.
pub(super) fn is_credential(name: &str) -> bool {
    ["login", "passcode", "authorization", "x-authorization", "token", "access_token"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// `Bearer TOKEN`, `Basic …`, or the token alone, which many clients write. What cannot be
/// read counts as a token, so that it is refused and not taken for no credentials.
pub(super) fn of_text(value: &str) -> Credentials {
    let token = || Credentials::Token(value.into());
    let Some((scheme, rest)) = value.split_once(' ') else { return token() };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        Credentials::Token(rest.into())
    } else if scheme.eq_ignore_ascii_case("basic") {
        basic(rest).unwrap_or_else(token)
    } else {
        token()
    }
}

// RFC 7617 "The 'Basic' Authentication Scheme": the password may hold colons.
fn basic(value: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (login, passcode) = text.split_once(':')?;
    Some(Credentials::Password { login: login.into(), passcode: passcode.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::frame::Command;

    fn given(headers: &[(&str, &str)]) -> Option<Credentials> {
        let frame = headers.iter().fold(Frame::new(Command::Connect), |frame, (name, value)| frame.with(name, value));
        credentials(&frame)
    }

    fn password(login: &str, passcode: &str) -> Option<Credentials> {
        Some(Credentials::Password { login: login.into(), passcode: passcode.into() })
    }

    #[test]
    fn every_name_that_clients_write_is_read() {
        let token = |text: &str| Some(Credentials::Token(text.into()));
        assert_eq!(given(&[]), None);
        assert_eq!(given(&[("login", "ann"), ("passcode", "pw")]), password("ann", "pw"));
        assert_eq!(given(&[("login", "ann")]), password("ann", ""));
        assert_eq!(given(&[("Authorization", "Bearer t0")]), token("t0"));
        assert_eq!(given(&[("authorization", "bearer  t0")]), token("t0"));
        assert_eq!(given(&[("Authorization", "Basic YW5uOnA6dw==")]), password("ann", "p:w"));
        assert_eq!(given(&[("X-Authorization", "Bearer t1")]), token("t1"));
        assert_eq!(given(&[("token", "t2")]), token("t2"));
        assert_eq!(given(&[("access_token", "t3")]), token("t3"));
        assert_eq!(given(&[("token", " ")]), None);
    }

    #[test]
    fn what_cannot_be_read_is_a_token_that_nobody_has() {
        assert_eq!(given(&[("Authorization", "Basic !!!")]), Some(Credentials::Token("Basic !!!".into())));
        assert_eq!(given(&[("Authorization", "Digest x")]), Some(Credentials::Token("Digest x".into())));
    }
}
