//! The four signatures, by the library that TLS uses already: no second set of ciphers.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::{hmac, signature};

/// Makes these the signatures of this process. Nothing here makes any.
pub(super) fn install() {
    // The second to come finds the same one there.
    let _ = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

struct Check {
    algorithm: Algorithm,
    key: DecodingKey,
}

/// A key that is not of the algorithm's family never gets as far as the mathematics.
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let is_known = FAMILIES.contains(&(*algorithm, key.family()));
    if !is_known {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    Ok(Box::new(Check { algorithm: *algorithm, key: key.clone() }))
}

impl Verifier<Vec<u8>> for Check {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> std::result::Result<(), Error> {
        let public = |parameters: &'static dyn signature::VerificationAlgorithm| match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) => {
                signature::UnparsedPublicKey::new(parameters, key).verify(message, given)
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                signature::RsaPublicKeyComponents { n, e }.verify(RSA, message, given)
            }
        };
        let verified = match (self.key.family(), self.key.try_get_as_bytes()) {
            // In constant time
            (AlgorithmFamily::Hmac, Ok(secret)) => {
                hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, given)
            }
            (AlgorithmFamily::Rsa, _) => public(RSA),
            (AlgorithmFamily::Ec, _) => public(&signature::ECDSA_P256_SHA256_FIXED),
            (AlgorithmFamily::Ed, _) => public(&signature::ED25519),
            (AlgorithmFamily::Hmac, Err(_)) => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Check {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Each algorithm with the only kind of key that it takes.
const FAMILIES: [(Algorithm, AlgorithmFamily); 4] = [
    (Algorithm::HS256, AlgorithmFamily::Hmac),
    (Algorithm::RS256, AlgorithmFamily::Rsa),
    (Algorithm::ES256, AlgorithmFamily::Ec),
    (Algorithm::EdDSA, AlgorithmFamily::Ed),
];

static RSA: &signature::RsaParameters = &signature::RSA_PKCS1_2048_8192_SHA256;
