//! What counts as one address where something is limited per address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 address, or the /64 network of the IPv6 address: who has one address of such a network
/// has all of them. An IPv4 client of an IPv6 listener is the same client, and so is one behind a
/// translator: those all share one /64.
pub(crate) fn limited_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if address.to_bits() >> 32 == TRANSLATED => {
            Ipv4Addr::from_bits(address.to_bits() as u32).into()
        }
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !HOST).into(),
        address => address,
    }
}

/// RFC 4291 section 2.5.4: the interface's half of a unicast address.
const HOST: u128 = u64::MAX as u128;

/// RFC 6052 section 2.1: 64:ff9b::/96, with an IPv4 address behind it.
const TRANSLATED: u128 = 0x0064_ff9b << 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_64_bits_is_one_client_and_so_is_an_ipv4_address() {
        for (address, as_what) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("10.0.0.2", "10.0.0.2"),
            ("64:ff9b::10.0.0.1", "10.0.0.1"),
            ("64:ff9b::10.0.0.2", "10.0.0.2"),
            ("64:ff9b::1:10.0.0.1", "64:ff9b::"),
            ("2001:db8:1:2::1", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            assert_eq!(limited_as(parsed).to_string(), as_what, "{address}");
        }
    }
}
