use super::*;

async fn ask(auth: &Authenticators, credentials: Option<Credentials>) -> Result<Principal, AuthError> {
    let attempt = Attempt { credentials, peer: None };
    auth.authenticate(&attempt).await.map(|identity| identity.principal)
}

fn named(name: &str) -> Principal {
    Principal::User(name.into())
}

fn token(text: &str) -> Option<Credentials> {
    Some(Credentials::Token(text.into()))
}

fn password(login: &str, passcode: &str) -> Option<Credentials> {
    Some(Credentials::Password { login: login.into(), passcode: passcode.into() })
}

fn settings(anonymous: bool) -> Settings {
    Settings {
        anonymous,
        users: vec![("ann".into(), Password::plain("a")), ("bob".into(), Password::plain("b"))],
        tokens: vec![("ci".into(), Digest::of("t"))],
        api_keys: vec![("tail".into(), Digest::of("k"))],
        jwt: None,
        certificates: false,
        rules: vec![],
        limits: Limits::default(),
        failures_per_minute: 0,
    }
}

#[tokio::test]
async fn without_users_and_tokens_all_are_let_in_whatever_they_say() {
    let open = Authenticators::open();
    assert_eq!(ask(&open, None).await, Ok(Principal::Anonymous));
    assert_eq!(ask(&open, token("any")).await, Ok(Principal::Anonymous));
}

#[tokio::test]
async fn a_user_is_let_in_with_its_own_password_only() {
    let auth = Authenticators::new(settings(false));
    assert_eq!(ask(&auth, password("ann", "a")).await, Ok(named("ann")));
    for (login, passcode) in [("ann", "b"), ("bob", "a"), ("", ""), ("eve", "a"), ("ann", "")] {
        assert_eq!(ask(&auth, password(login, passcode)).await, Err(AuthError::Refused), "{login} {passcode}");
    }
}

#[tokio::test]
async fn a_hashed_password_is_known_and_a_name_that_nobody_has_is_looked_at_as_long() {
    let hash = hash_password("pässword").unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let users = vec![(User::new("ann", vec!["admin".into()], Vec::new()), Password::hashed(&hash).unwrap())];
    let auth = Authenticators::new(Settings { users, ..Settings::default() });
    let ann = ask(&auth, password("ann", "pässword")).await.unwrap();
    assert!(ann.user().unwrap().has_role("admin"));
    assert_eq!(ask(&auth, password("ann", "passw")).await, Err(AuthError::Refused));
    assert_eq!(ask(&auth, password("bob", "pässword")).await, Err(AuthError::Refused));
}

#[tokio::test]
async fn two_hashes_of_one_password_differ() {
    assert_ne!(hash_password("a").unwrap(), hash_password("a").unwrap());
}

#[test]
fn only_a_whole_argon2id_hash_is_taken() {
    let hash = hash_password("a").unwrap();
    let without_hash = hash.rsplit_once('$').unwrap().0.to_owned();
    for text in ["", "a", "$argon2id$", &hash.replace("argon2id", "argon2i"), &without_hash, "$2b$10$abc"] {
        assert_eq!(Password::hashed(text).err(), Some(PasswordError::NotArgon2id), "{text}");
    }
}

#[tokio::test]
async fn a_token_names_its_user_and_a_key_is_no_token() {
    let auth = Authenticators::new(settings(false));
    assert_eq!(ask(&auth, token("t")).await, Ok(named("ci")));
    assert_eq!(ask(&auth, token("a")).await, Err(AuthError::Refused));
    assert_eq!(ask(&auth, token("k")).await, Err(AuthError::Refused));
    let key = |text: &str| Some(Credentials::ApiKey(text.into()));
    assert_eq!(ask(&auth, key("k")).await, Ok(named("tail")));
    assert_eq!(ask(&auth, key("t")).await, Err(AuthError::Refused));
}

#[tokio::test]
async fn no_credentials_are_enough_only_where_anonymous_is_set() {
    assert_eq!(ask(&Authenticators::new(settings(false)), None).await, Err(AuthError::Refused));
    assert_eq!(ask(&Authenticators::new(settings(true)), None).await, Ok(Principal::Anonymous));
    assert_eq!(ask(&Authenticators::new(settings(true)), password("ann", "b")).await, Err(AuthError::Refused));
}

#[tokio::test]
async fn a_certificates_subject_is_the_principal_where_certificates_count() {
    let certificate = || Some(Credentials::Certificate("svc".into()));
    assert_eq!(ask(&Authenticators::new(settings(false)), certificate()).await, Err(AuthError::Refused));
    let auth = Authenticators::new(Settings { certificates: true, ..Settings::default() });
    assert_eq!(ask(&auth, certificate()).await, Ok(named("svc")));
    assert_eq!(ask(&auth, None).await, Err(AuthError::Refused));
}

#[tokio::test]
async fn a_flood_of_passwords_is_told_to_come_later() {
    let hash = hash_password("a").unwrap();
    let users = vec![("ann".into(), Password::hashed(&hash).unwrap())];
    let limits = Limits { running: 1, waiting: 1, waiting_per_address: 1 };
    let auth = Authenticators::new(Settings { users, limits, ..Settings::default() });
    let attempt = Attempt { credentials: password("ann", "a"), peer: None };
    let (first, second) = futures_util::future::join(auth.authenticate(&attempt), auth.authenticate(&attempt)).await;
    assert_eq!(first.map(|identity| identity.principal), Ok(named("ann")));
    assert_eq!(second, Err(AuthError::Busy));
}

#[test]
fn a_digest_is_read_as_it_is_printed() {
    let digest = Digest::of("t0ken");
    assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
    assert_eq!(Digest::parse(&digest.to_string().to_uppercase()), Some(digest));
    for text in ["", "ab", &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
        assert_eq!(Digest::parse(text), None, "{text}");
    }
    assert_eq!(format!("{digest:?}"), "Digest(***)");
}

#[test]
fn a_name_is_fit_for_a_line() {
    assert!(is_name("ann") && is_name(&"a".repeat(255)));
    assert!(!is_name("") && !is_name("a\nb") && !is_name(&"a".repeat(256)));
}
