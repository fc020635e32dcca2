//! Keys that signatures are checked with: from PEM, from a secret, from a JSON Web Key Set.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm as Outside, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;

use crate::broker::auth::{Digest, Mark};

/// How tokens are signed.
// RFC 7518 3.1, RFC 8037 3.1
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// As `alg` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that `alg`.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(super) fn outside(self) -> Outside {
        match self {
            Self::Hs256 => Outside::HS256,
            Self::Rs256 => Outside::RS256,
            Self::Es256 => Outside::ES256,
            Self::EdDsa => Outside::EdDSA,
        }
    }
}

/// Why keys were not taken. Says nothing of what is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret of HS256 is shorter than its hash.
    // RFC 7518 3.2
    #[error("it has {size} octets; a secret for HS256 has at least {MIN_SECRET_BYTES}")]
    ShortSecret {
        /// Its length.
        size: usize,
    },
    /// Not a PEM file with public keys.
    #[error("it has no PEM block with a public key (RSA of 2048 bits or more, P-256 or Ed25519)")]
    NoPublicKey,
    /// A private key, which has no business here.
    #[error("it has a private key; only the public one belongs here")]
    PrivateKey,
    /// Not a key set.
    #[error("it is no JSON Web Key Set")]
    NoKeySet,
    /// A key set of which nothing can be used.
    #[error("it has no key that can be used: RSA of 2048 bits or more, EC P-256 or OKP Ed25519, for signatures")]
    NoUsableKey,
    /// A key set that is too large.
    #[error("it has {count} keys; at most {MAX_KEYS} are allowed")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// A key, and the one algorithm that it is for.
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    pub(super) mark: Mark,
    kid: Option<Box<str>>,
}

impl Key {
    fn new(algorithm: Algorithm, key: DecodingKey, kid: Option<Box<str>>) -> Self {
        let mark = match key.kind() {
            DecodingKeyKind::SecretOrDer(octets) => Digest::of(octets),
            DecodingKeyKind::RsaModulusExponent { n, e } => Digest::of([&n[..], e].concat()),
        };
        Self { algorithm, key, mark: mark.mark(), kid }
    }

    pub(super) fn is_named(&self) -> bool {
        self.kid.is_some()
    }
}

/// Some keys. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Vec<Arc<Key>>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// The secret of HS256, without the line break at a file's end.
    ///
    /// # Errors
    /// It is shorter than 32 octets.
    pub fn of_secret(secret: &[u8]) -> Result<Self, KeyError> {
        let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret { size: secret.len() });
        }
        Ok(Self::one(Algorithm::Hs256, DecodingKey::from_secret(secret), None))
    }

    /// The public keys of a PEM file, each for the algorithm of its kind.
    ///
    /// # Errors
    /// There is none, or a private one.
    pub fn of_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::PrivateKey);
        }
        let blocks = pem.split_inclusive("-----END").zip(pem.split("-----END").skip(1));
        let mut keys = Vec::new();
        for (head, tail) in blocks {
            let Some(begin) = head.find("-----BEGIN") else { continue };
            let end = tail.lines().next().unwrap_or_default();
            let block = format!("{}{end}\n", &head[begin..]);
            keys.extend(public_key(block.as_bytes()).map(|(algorithm, key)| Arc::new(Key::new(algorithm, key, None))));
        }
        if keys.is_empty() { Err(KeyError::NoPublicKey) } else { Ok(Self(keys)) }
    }

    /// The keys of a JSON Web Key Set; those of other kinds and uses are left out. Secrets are
    /// taken only `with_secrets`: what comes from a URL is no secret.
    ///
    /// # Errors
    /// It is none, has too many keys, or none that can be used.
    // RFC 7517 5: implementations ignore keys that they do not understand
    pub fn of_jwks(json: &[u8], with_secrets: bool) -> Result<Self, KeyError> {
        let set: KeySet = serde_json::from_slice(json).map_err(|_| KeyError::NoKeySet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany { count: set.keys.len() });
        }
        let jwks = set.keys.into_iter().filter_map(|jwk| serde_json::from_value::<Jwk>(jwk).ok());
        let keys: Vec<_> = jwks.filter_map(Jwk::key).collect();
        let keys: Vec<_> =
            keys.into_iter().filter(|key| with_secrets || key.algorithm != Algorithm::Hs256).map(Arc::new).collect();
        if keys.is_empty() { Err(KeyError::NoUsableKey) } else { Ok(Self(keys)) }
    }

    /// These and those.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that a token with that `alg` and `kid` may be signed by. A key without a name is
    /// tried with any token, and a token without one with any key.
    pub(super) fn of(&self, algorithm: Algorithm, kid: Option<&str>) -> Vec<Arc<Key>> {
        let fits = |key: &&Arc<Key>| {
            let is_named = key.kid.as_deref().zip(kid).is_none_or(|(own, wanted)| own == wanted);
            key.algorithm == algorithm && is_named
        };
        self.0.iter().filter(fits).cloned().collect()
    }

    /// Those for one of these algorithms.
    pub(super) fn of_any(&self, algorithms: &[Algorithm]) -> impl Iterator<Item = &Key> {
        self.0.iter().map(|key| &**key).filter(|key| algorithms.contains(&key.algorithm))
    }

    fn one(algorithm: Algorithm, key: DecodingKey, kid: Option<Box<str>>) -> Self {
        Self(vec![Arc::new(Key::new(algorithm, key, kid))])
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// What is read of a key.
// RFC 7518 6
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    intended: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Jwk {
    fn key(self) -> Option<Key> {
        if self.intended.as_deref().is_some_and(|intended| intended != "sig") {
            return None;
        }
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            // 256 octets of modulus in base64
            ("RSA", _) if self.n.as_ref()?.len() < 256 * 4 / 3 => return None,
            ("RSA", _) => (Algorithm::Rs256, DecodingKey::from_rsa_components(self.n.as_deref()?, self.e.as_deref()?)),
            ("EC", Some("P-256")) => {
                (Algorithm::Es256, DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?))
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, DecodingKey::from_ed_components(self.x.as_deref()?)),
            ("oct", _) => (Algorithm::Hs256, DecodingKey::from_jwk(&serde_json::from_value(self.secret()?).ok()?)),
            _ => return None,
        };
        if self.alg.as_deref().is_some_and(|alg| alg != algorithm.name()) {
            return None;
        }
        let key = key.ok().filter(|key| is_strong(algorithm, key))?;
        Some(Key::new(algorithm, key, self.kid.map(Into::into)))
    }

    fn secret(&self) -> Option<Value> {
        Some(serde_json::json!({ "kty": "oct", "k": self.k.as_deref()? }))
    }
}

fn public_key(block: &[u8]) -> Option<(Algorithm, DecodingKey)> {
    let rsa = DecodingKey::from_rsa_pem(block).map(|key| (Algorithm::Rs256, key));
    let ec = || DecodingKey::from_ec_pem(block).map(|key| (Algorithm::Es256, key));
    let ed = || DecodingKey::from_ed_pem(block).map(|key| (Algorithm::EdDsa, key));
    let found = rsa.or_else(|_| ec()).or_else(|_| ed()).ok();
    found.filter(|(algorithm, key)| is_strong(*algorithm, key))
}

/// Whether the key is of the right size, so that a wrong one is noticed when it is read.
fn is_strong(algorithm: Algorithm, key: &DecodingKey) -> bool {
    match (algorithm, key.try_get_as_bytes()) {
        (Algorithm::Hs256, Ok(secret)) => secret.len() >= MIN_SECRET_BYTES,
        // The modulus of 256 octets and the exponent, as DER
        (Algorithm::Rs256, Ok(der)) => der.len() >= 256 + 3,
        (Algorithm::Rs256, Err(_)) => true,
        // RFC 5480 2.2: an uncompressed point
        (Algorithm::Es256, Ok(point)) => point.len() == 65,
        (Algorithm::EdDsa, Ok(point)) => point.len() == 32,
        (Algorithm::Hs256 | Algorithm::Es256 | Algorithm::EdDsa, Err(_)) => false,
    }
}

/// The size of SHA-256.
const MIN_SECRET_BYTES: usize = 32;

/// More keys than any provider publishes.
const MAX_KEYS: usize = 100;
