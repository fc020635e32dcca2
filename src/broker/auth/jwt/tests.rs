use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Vector {
    name: String,
    token: String,
    /// `true`, `false`, or `"pem"` for one that names a key, where keys have no names.
    good: Value,
}

#[tokio::test]
async fn tokens_are_taken_and_refused_as_the_vectors_say_with_keys_from_pem() {
    let keys = Keys::of_secret(SECRET).unwrap().and(Keys::of_pem(PEM).unwrap());
    vectors(&tokens(settings(keys)), |good| good != &json!(false)).await;
}

#[tokio::test]
async fn tokens_are_taken_and_refused_as_the_vectors_say_with_keys_from_a_key_set() {
    let keys = Keys::of_secret(SECRET).unwrap().and(Keys::of_jwks(JWKS, true).unwrap());
    vectors(&tokens(settings(keys)), |good| good == &json!(true)).await;
}

#[tokio::test]
async fn without_the_secret_no_hs256_is_taken_whatever_it_is_made_with() {
    let keys = Keys::of_pem(PEM).unwrap();
    vectors(&tokens(settings(keys)), |_| true).await;
}

/// `is_good` where the keys are there; without the secret, HS256 is refused all the same.
async fn vectors(tokens: &Tokens, is_good: impl Fn(&Value) -> bool) {
    let vectors: Vec<Vector> = serde_json::from_slice(VECTORS).unwrap();
    assert!(vectors.len() > 40);
    let has_secret = !tokens.check.keys.of(Algorithm::Hs256, None).is_empty();
    for Vector { name, token, good } in vectors {
        let is_good = good != json!(false) && is_good(&good) && (has_secret || !name.starts_with("HS256"));
        let found = ask(tokens, &token).await;
        assert_eq!(found.is_ok(), is_good, "{name}: {found:?}");
        if let Ok(identity) = found {
            assert_eq!(identity.principal.name(), Some("ann"));
            assert_eq!(identity.expires_at_ms, Some(4_102_444_800_000), "{name}");
            assert!(identity.principal.user().unwrap().has_role("staff"));
        }
    }
}

#[tokio::test]
async fn a_token_is_good_by_the_key_that_it_is_signed_with_and_no_other() {
    let other = Keys::of_secret(&[b'x'; 32]).unwrap();
    let own = Keys::of_secret(SECRET).unwrap();
    let settings = settings(other.clone().and(own.clone()));
    let exp = now_ms() / 1000 + 100;
    let token = signed(&json!({ "sub": "ann", "iss": ISSUER, "aud": "stompbox", "exp": exp }));
    let proof = ask(&tokens(settings.clone()), &token).await.unwrap().proof;
    let proofs = |keys| Settings { keys, ..settings.clone() }.proofs().collect::<Vec<_>>();
    assert_eq!(proofs(own), [proof]);
    assert!(!proofs(other).contains(&proof) && settings.proofs().count() == 2);
}

#[tokio::test]
async fn a_key_that_the_token_names_is_tried_before_those_that_have_no_name() {
    let nameless = (0..MAX_TRIES).map(|n| Keys::of_secret(&[n as u8; 32]).unwrap());
    let named = json!({ "keys": [{ "kty": "oct", "kid": "k", "k": URL_SAFE_NO_PAD.encode(SECRET.trim_ascii_end()) }] });
    let keys =
        nameless.fold(Keys::default(), Keys::and).and(Keys::of_jwks(named.to_string().as_bytes(), true).unwrap());
    let claims = json!({ "sub": "ann", "iss": ISSUER, "aud": "stompbox", "exp": now_ms() / 1000 + 100 });
    let token = signed_with(r#"{"alg":"HS256","kid":"k"}"#, &claims);
    assert!(ask(&tokens(settings(keys)), &token).await.is_ok());
}

#[tokio::test]
async fn algorithms_that_are_not_listed_are_refused() {
    let keys = Keys::of_secret(SECRET).unwrap().and(Keys::of_pem(PEM).unwrap());
    let tokens = tokens(Settings { algorithms: vec![Algorithm::Es256], ..settings(keys) });
    let vectors: Vec<Vector> = serde_json::from_slice(VECTORS).unwrap();
    for Vector { name, token, .. } in vectors {
        assert_eq!(ask(&tokens, &token).await.is_ok(), name == "ES256", "{name}");
    }
}

#[tokio::test]
async fn exp_and_nbf_count_to_the_second_and_the_leeway_moves_both() {
    let now = now_ms() / 1000;
    let keys = || Keys::of_secret(SECRET).unwrap();
    let strict = tokens(settings(keys()));
    let lenient = tokens(Settings { leeway: Duration::from_secs(60), ..settings(keys()) });
    for (exp, nbf, is_good_strictly, is_good) in [
        (now + 100, now, true, true),
        (now, now, false, true),
        (now - 50, now - 100, false, true),
        (now - 61, now - 100, false, false),
        (now + 100, now + 50, false, true),
        (now + 100, now + 70, false, false),
    ] {
        let token = signed(&json!({ "sub": "ann", "iss": ISSUER, "aud": "stompbox", "exp": exp, "nbf": nbf }));
        assert_eq!(ask(&strict, &token).await.is_ok(), is_good_strictly, "{exp} {nbf} {now}");
        let found = ask(&lenient, &token).await;
        assert_eq!(found.is_ok(), is_good, "{exp} {nbf} {now}");
        if let Ok(identity) = found {
            assert_eq!(identity.expires_at_ms, Some((exp + 60) * 1000));
        }
    }
}

#[tokio::test]
async fn where_no_audience_is_set_a_token_for_somebody_is_refused() {
    let open = Settings { issuers: vec![], audiences: vec![], ..settings(Keys::of_secret(SECRET).unwrap()) };
    let tokens = tokens(open);
    let exp = now_ms() / 1000 + 100;
    assert!(ask(&tokens, &signed(&json!({ "sub": "ann", "exp": exp }))).await.is_ok());
    assert!(ask(&tokens, &signed(&json!({ "sub": "ann", "exp": exp, "iss": "any" }))).await.is_ok());
    assert!(ask(&tokens, &signed(&json!({ "sub": "ann", "exp": exp, "aud": "any" }))).await.is_err());
}

#[tokio::test]
async fn an_issuer_that_is_no_string_and_an_audience_that_is_no_list_of_strings_are_refused() {
    let keys = || Keys::of_secret(SECRET).unwrap();
    let exp = now_ms() / 1000 + 100;
    let bound = tokens(settings(keys()));
    let open = tokens(Settings { issuers: vec![], audiences: vec![], ..settings(keys()) });
    let of = |iss: Value, aud: Value| signed(&json!({ "sub": "ann", "exp": exp, "iss": iss, "aud": aud }));
    assert!(ask(&bound, &of(json!(ISSUER), json!(["other", "stompbox"]))).await.is_ok());
    for (iss, aud) in [
        (json!([ISSUER]), json!("stompbox")),
        (json!(null), json!("stompbox")),
        (json!(ISSUER), json!(["stompbox", 1])),
        (json!(ISSUER), json!({ "stompbox": true })),
        (json!(ISSUER), json!(1)),
    ] {
        assert!(ask(&bound, &of(iss.clone(), aud.clone())).await.is_err(), "{iss} {aud}");
        assert!(ask(&open, &of(iss.clone(), aud.clone())).await.is_err(), "{iss} {aud}");
    }
    for claims in [json!({ "iss": 1 }), json!({ "iss": null }), json!({ "aud": 1 }), json!({ "aud": {} })] {
        let mut all = json!({ "sub": "ann", "exp": exp });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        assert!(ask(&open, &signed(&all)).await.is_err(), "{claims}");
    }
}

#[tokio::test]
async fn what_is_critical_is_refused_and_so_is_a_null_there() {
    let tokens = tokens(settings(Keys::of_secret(SECRET).unwrap()));
    let claims = json!({ "sub": "ann", "iss": ISSUER, "aud": "stompbox", "exp": now_ms() / 1000 + 100 });
    assert!(ask(&tokens, &signed_with(r#"{"alg":"HS256","typ":"JWT"}"#, &claims)).await.is_ok());
    for crit in [r#"["exp"]"#, "[]", "null"] {
        let header = format!(r#"{{"alg":"HS256","crit":{crit}}}"#);
        assert!(ask(&tokens, &signed_with(&header, &claims)).await.is_err(), "{crit}");
    }
}

#[tokio::test]
async fn a_token_that_is_too_long_is_not_looked_at() {
    let tokens = tokens(settings(Keys::of_secret(SECRET).unwrap()));
    let claims = |size: usize| {
        let exp = now_ms() / 1000 + 100;
        signed(&json!({ "sub": "ann", "iss": ISSUER, "aud": "stompbox", "exp": exp, "x": "x".repeat(size) }))
    };
    assert!(ask(&tokens, &claims(11_000)).await.is_ok());
    let long = claims(13_000);
    assert!(long.len() > MAX_TOKEN_BYTES);
    assert!(ask(&tokens, &long).await.is_err());
}

// RFC 7515 A.1 to A.3, RFC 8037 A.4: the signatures are good, the claims are not ours.
#[test]
fn the_examples_of_the_specifications_have_good_signatures() {
    let secret = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let hs256 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let es256 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let ec = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let expired = |keys: Keys, algorithm, token: &str| {
        signature::install();
        let key = keys.of(algorithm, None).remove(0);
        let mut validation = Validation::new(algorithm.outside());
        validation.validate_exp = false;
        decode::<Map<String, Value>>(token, &key.key, &validation).map(|data| data.claims["iss"].clone())
    };
    assert_eq!(expired(Keys::of_secret(&secret).unwrap(), Algorithm::Hs256, hs256), Ok(json!("joe")));
    let ec = Keys::of_jwks(ec.as_bytes(), false).unwrap();
    assert_eq!(expired(ec, Algorithm::Es256, es256), Ok(json!("joe")));
    let ed = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let key = Keys::of_jwks(ed.as_bytes(), false).unwrap().of(Algorithm::EdDsa, None).remove(0);
    let eddsa = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(jsonwebtoken::crypto::verify(eddsa, message, &key.key, Algorithm::EdDsa.outside()), Ok(true));
    assert_eq!(jsonwebtoken::crypto::verify(eddsa, b"other", &key.key, Algorithm::EdDsa.outside()), Ok(false));
}

#[test]
fn a_key_of_another_family_is_refused_before_any_signature_is_looked_at() {
    signature::install();
    let rsa = Keys::of_pem(PEM).unwrap().of(Algorithm::Rs256, None).remove(0);
    assert!(jsonwebtoken::crypto::verify("", b"", &rsa.key, Algorithm::Hs256.outside()).is_err());
    assert!(jsonwebtoken::crypto::verify("", b"", &rsa.key, jsonwebtoken::Algorithm::PS256).is_err());
}

#[test]
fn keys_that_are_too_weak_or_private_or_none_are_refused_with_the_reason() {
    assert_eq!(Keys::of_secret(&[b'x'; 31]).err(), Some(KeyError::ShortSecret { size: 31 }));
    assert_eq!(Keys::of_secret(&[&[b'x'; 31][..], b"\r\n"].concat()).err(), Some(KeyError::ShortSecret { size: 31 }));
    assert!(Keys::of_secret(&[b'x'; 32]).is_ok());
    assert_eq!(Keys::of_pem(include_str!("../../../../fixtures/jwt/weak.pem")).err(), Some(KeyError::NoPublicKey));
    assert_eq!(Keys::of_pem("").err(), Some(KeyError::NoPublicKey));
    let private = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode("x"));
    assert_eq!(Keys::of_pem(&private).err(), Some(KeyError::PrivateKey));
    assert_eq!(Keys::of_jwks(b"{}", true).err(), Some(KeyError::NoKeySet));
    assert_eq!(Keys::of_jwks(br#"{"keys":[]}"#, true).err(), Some(KeyError::NoUsableKey));
    let many = json!({ "keys": vec![json!({ "kty": "x" }); 101] });
    assert_eq!(Keys::of_jwks(many.to_string().as_bytes(), true).err(), Some(KeyError::TooMany { count: 101 }));
    let secret = json!({ "keys": [{ "kty": "oct", "k": URL_SAFE_NO_PAD.encode([1; 32]) }] }).to_string();
    assert!(Keys::of_jwks(secret.as_bytes(), true).is_ok());
    assert_eq!(Keys::of_jwks(secret.as_bytes(), false).err(), Some(KeyError::NoUsableKey), "a URL has no secrets");
}

#[test]
fn a_key_set_is_read_for_what_can_be_used_of_it() {
    let keys = Keys::of_jwks(JWKS, false).unwrap();
    assert_eq!(format!("{keys:?}"), "Keys(3)");
    assert_eq!(keys.of(Algorithm::Rs256, Some("rsa-1")).len(), 1);
    assert_eq!(keys.of(Algorithm::Es256, Some("rsa-1")).len(), 0);
}

async fn ask(tokens: &Tokens, token: &str) -> Result<Identity, AuthError> {
    let attempt = Attempt { credentials: Some(Credentials::Token(token.into())), peer: None };
    tokens.authenticate(&attempt).await
}

fn tokens(settings: Settings) -> Tokens {
    Tokens::new(settings)
}

fn settings(keys: Keys) -> Settings {
    Settings {
        algorithms: Algorithm::ALL.into(),
        keys,
        source: None,
        issuers: vec![ISSUER.into()],
        audiences: vec!["stompbox".into()],
        leeway: Duration::ZERO,
        names: Names { name: "sub".into(), roles: "roles".into(), rules: String::new() },
    }
}

fn signed(claims: &Value) -> String {
    signed_with(r#"{"alg":"HS256"}"#, claims)
}

fn signed_with(header: &str, claims: &Value) -> String {
    let encoded = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
    let input = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.to_string().as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.trim_ascii_end());
    let signature = hmac::sign(&key, input.as_bytes());
    format!("{input}.{}", encoded(signature.as_ref()))
}

const ISSUER: &str = "https://issuer.example";
const SECRET: &[u8] = include_bytes!("../../../../fixtures/jwt/secret");
const PEM: &str = include_str!("../../../../fixtures/jwt/keys.pem");
const JWKS: &[u8] = include_bytes!("../../../../fixtures/jwt/jwks.json");
const VECTORS: &[u8] = include_bytes!("../../../../fixtures/jwt/vectors.json");
