//! [`Failures`]: how many attempts of one address may fail in a minute, whichever way they come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::address::limited_as;

pub(in crate::broker) struct Failures {
    per_minute: u32,
    minutes: Mutex<HashMap<IpAddr, Minute>>,
}

/// One that begins with an attempt that fails.
struct Minute {
    failed: u32,
    ends: Instant,
}

impl Failures {
    /// Zero is no limit.
    pub(in crate::broker) fn new(per_minute: u32) -> Self {
        Self { per_minute, minutes: Mutex::default() }
    }

    /// How long it is until an attempt of that address is checked again; `None`: it is checked
    /// now.
    pub(in crate::broker) fn wait(&self, peer: IpAddr) -> Option<Duration> {
        let minutes = self.lock();
        let minute = minutes.get(&limited_as(peer)).filter(|minute| minute.failed >= self.per_minute)?;
        let wait = minute.ends.saturating_duration_since(Instant::now());
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// Counts an attempt that failed; answers whether it was the last one for its minute.
    pub(in crate::broker) fn add(&self, peer: IpAddr) -> bool {
        if self.per_minute == 0 {
            return false;
        }
        let now = Instant::now();
        let mut minutes = self.lock();
        if minutes.len() >= MAX_ADDRESSES {
            minutes.retain(|_, minute| minute.ends > now);
        }
        // Who has so many addresses has as many guesses without what is forgotten here.
        if minutes.len() >= MAX_ADDRESSES {
            minutes.clear();
        }
        let begun = || Minute { failed: 0, ends: now + MINUTE };
        let minute = minutes.entry(limited_as(peer)).or_insert_with(begun);
        if minute.ends <= now {
            *minute = begun();
        }
        minute.failed = minute.failed.saturating_add(1);
        minute.failed == self.per_minute
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Minute>> {
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Some 4 MiB.
const MAX_ADDRESSES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_may_fail_in_a_minute_and_one_more_waits_for_its_end() {
        let failures = Failures::new(2);
        let (peer, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert!(!failures.add(peer));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(failures.wait(peer), None);
        assert!(failures.add(peer));
        assert_eq!(failures.wait(peer), Some(Duration::from_secs(40)));
        assert_eq!(failures.wait(other), None);
        assert!(!failures.add(peer), "said once");
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(failures.wait(peer), None);
        assert!(!failures.add(peer));
        assert_eq!(failures.wait(peer), None);
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_address_and_zero_is_no_limit() {
        let (peer, neighbour): (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let failures = Failures::new(1);
        failures.add(peer);
        assert!(failures.wait(neighbour).is_some());
        let failures = Failures::new(0);
        failures.add(peer);
        assert_eq!(failures.wait(peer), None);
    }

    #[tokio::test]
    async fn more_addresses_than_are_kept_take_no_more_memory() {
        let failures = Failures::new(1);
        for n in 0..=MAX_ADDRESSES {
            failures.add(std::net::Ipv4Addr::from_bits(n as u32).into());
        }
        assert!(failures.lock().len() <= MAX_ADDRESSES);
    }
}
