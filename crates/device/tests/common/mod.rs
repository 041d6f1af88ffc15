//! What the tests share: a network in miniature, a memory that fails, an observer of all that is sent.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod bench;
pub mod network;
pub mod nvm;
pub mod observer;

use ambit_device::{Device, DeviceForm, DeviceType, LocalKey, Profile, Random};
use ambit_protocol::area::Plmn;
use ambit_protocol::{AreaId, RootKey, Snid, Suite};
use nvm::Nvm;

pub const KEY: [u8; 16] = [0x4B; 16];

pub fn snid() -> Snid {
    Snid::new(Plmn::new("001", "01").unwrap(), None)
}

pub fn area(code: u8) -> AreaId {
    snid().area([0, 0, code])
}

pub struct Dice(pub fastrand::Rng);

impl Random for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

pub type TestDevice = Device<LocalKey, Nvm, Dice>;

pub fn profile(form: DeviceForm) -> Profile {
    Profile::new(DeviceType::Type2c, form, snid())
}

pub fn start(profile: Profile, suite: Suite, nvm: &Nvm, seed: u64, now_ms: u64) -> TestDevice {
    let key = LocalKey::new(RootKey::new(KEY), suite);
    let dice = Dice(fastrand::Rng::with_seed(seed));
    Device::power_on(profile, key, nvm.clone(), dice, now_ms, b"hello").unwrap()
}

/// Runs `test` for `count` seeds, or for the one in AMBIT_SEED. A seed that fails is printed.
pub fn for_seeds(name: &str, count: u64, test: impl Fn(u64)) {
    struct Told<'a>(&'a str, u64);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: failed, replay with AMBIT_SEED={}", self.0, self.1);
            }
        }
    }
    let given = std::env::var("AMBIT_SEED").ok();
    let seeds = match given.and_then(|text| text.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    for seed in seeds {
        let _told = Told(name, seed);
        test(seed);
    }
}
