//! A hundred thousand devices in one process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

mod common;

use std::time::Instant;

use ambit_device::DeviceForm;
use ambit_ran::air::{AirConfig, Channel};
use ambit_ran::fleet::FleetDevice;
use ambit_ran::gnb::GnbConfig;
use ambit_ran::site::Site;
use common::*;

#[test]
fn a_hundred_thousand_devices_register_with_provisioned_anchors() {
    const DEVICES: u32 = 100_000;
    let began = Instant::now();
    let fleet = fleet(1, DEVICES, 60_000, DeviceForm::Beacon, None);
    let gnb = GnbConfig::new(1, snid(), 1);
    let mut site = Site::new(
        AirConfig::symmetric(2, Channel::lossy(0.05)),
        vec![gnb],
        fleet,
    );
    let mut core = Core::new(DEVICES);
    start(&mut site, &mut core);
    let (laid, began) = (began.elapsed(), Instant::now());
    drive(&mut site, &mut core, 600_000, |site| {
        site.fleet_stats().registered == DEVICES.into()
    });
    println!(
        "{DEVICES} devices: laid out in {laid:.1?}, registered in {:.1?} ({} ms of virtual time), {} octets of state a device",
        began.elapsed(),
        site.now_ms(),
        size_of::<FleetDevice>(),
    );
    assert_eq!(site.fleet_stats().registered, DEVICES.into());
    assert_eq!(core.refused, 0);
    assert_ledger_matches(&site, &core);
    // A beacon change costs nothing while nobody has anything to say.
    let timeout_ms = site.poll_timeout();
    core.open_window(0, EPOCH + 1);
    exchange(&mut site, &mut core);
    assert_eq!(site.poll_timeout(), timeout_ms);
}
