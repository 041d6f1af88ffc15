//! A device's values in few octets.

use ambit_protocol::{DeviceForm, DeviceType, Suite, TagLen};

use super::RecentItems;
use crate::policy::CredentialKind;

/// What decides whether a device belongs to a population and by which code it is searched: suite, form, fleet, and whether it
/// has a key. A column of its own, as a search reads it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Class(u32);

const FORMS: [DeviceForm; 5] = [
    DeviceForm::Beacon,
    DeviceForm::Concealed,
    DeviceForm::Counter,
    DeviceForm::Blind,
    DeviceForm::Dt,
];
const TYPES: [DeviceType; 4] = [
    DeviceType::Type1,
    DeviceType::Type2a,
    DeviceType::Type2b,
    DeviceType::Type2c,
];
const TAG_LENS: [TagLen; 3] = [TagLen::T4, TagLen::T8, TagLen::T16];
const CREDENTIALS: [CredentialKind; 3] = [
    CredentialKind::Operator,
    CredentialKind::Uicc,
    CredentialKind::UiccAiot,
];

/// The place of a value in one of the lists above.
fn place<T: PartialEq>(list: &[T], value: &T) -> u8 {
    let place = list.iter().position(|listed| listed == value);
    debug_assert!(place.is_some(), "the list has every value");
    place.unwrap_or_default() as u8
}

fn at<T: Copy, const N: usize>(list: &[T; N], place: u8) -> T {
    #[allow(clippy::indexing_slicing)] // In range by the remainder.
    list[usize::from(place) % N]
}

impl Class {
    pub(super) fn new(suite: Suite, form: DeviceForm, fleet: u16, is_keyed: bool) -> Self {
        let suite = place(&Suite::ALL, &suite);
        let kind = suite | place(&FORMS, &form) << 2 | u8::from(is_keyed) << 5;
        Self(u32::from(fleet) << 16 | u32::from(kind))
    }

    /// The class without its fleet.
    pub(super) const fn kind(self) -> Self {
        Self(self.0 & 0xffff)
    }

    pub(super) const fn fleet(self) -> u16 {
        (self.0 >> 16) as u16
    }

    pub(super) fn suite(self) -> Suite {
        at(&Suite::ALL, self.0 as u8 & 3)
    }

    pub(super) fn form(self) -> DeviceForm {
        at(&FORMS, self.0 as u8 >> 2 & 7)
    }

    pub(super) const fn is_keyed(self) -> bool {
        self.0 >> 5 & 1 == 1
    }
}

/// The rest, read when a device was found.
#[derive(Clone, Copy)]
#[repr(C, packed(2))]
pub(super) struct Packed {
    row: i64,
    key_until_ms: Time,
    last_ms: Time,
    causes: u64,
    counter: u32,
    /// Tag length, type, credential, disabled, has a counter: two bits each, one for the last two.
    flags: u16,
}

const DISABLED: u16 = 1 << 6;
const HAS_COUNTER: u16 = 1 << 7;

impl Packed {
    pub(super) fn new(
        row: i64,
        tag_len: TagLen,
        device_type: DeviceType,
        credential: CredentialKind,
    ) -> Self {
        let recent = RecentItems::default();
        let flags = place(&TAG_LENS, &tag_len)
            | place(&TYPES, &device_type) << 2
            | place(&CREDENTIALS, &credential) << 4;
        Self {
            row,
            key_until_ms: Time::new(i64::MIN),
            last_ms: Time::new(recent.last_ms),
            causes: recent.causes,
            counter: 0,
            flags: flags.into(),
        }
    }

    pub(super) const fn row(&self) -> i64 {
        self.row
    }

    pub(super) fn tag_len(&self) -> TagLen {
        at(&TAG_LENS, self.flags as u8 & 3)
    }

    pub(super) fn device_type(&self) -> DeviceType {
        at(&TYPES, self.flags as u8 >> 2 & 3)
    }

    pub(super) fn credential(&self) -> CredentialKind {
        at(&CREDENTIALS, self.flags as u8 >> 4 & 3)
    }

    pub(super) fn key_until_ms(&self) -> i64 {
        let until = self.key_until_ms;
        until.ms()
    }

    pub(super) fn set_key_until_ms(&mut self, until_ms: i64) {
        self.key_until_ms = Time::new(until_ms);
    }

    pub(super) const fn is_disabled(&self) -> bool {
        self.flags & DISABLED != 0
    }

    pub(super) fn set_disabled(&mut self, disabled: bool) {
        self.set_flag(DISABLED, disabled);
    }

    pub(super) fn counter_last(&self) -> Option<u32> {
        let counter = self.counter;
        (self.flags & HAS_COUNTER != 0).then_some(counter)
    }

    pub(super) fn set_counter_last(&mut self, counter: Option<u32>) {
        self.set_flag(HAS_COUNTER, counter.is_some());
        self.counter = counter.unwrap_or_default();
    }

    pub(super) fn recent(&self) -> RecentItems {
        let last = self.last_ms;
        RecentItems {
            last_ms: last.ms(),
            causes: self.causes,
        }
    }

    pub(super) fn set_recent(&mut self, recent: &RecentItems) {
        self.last_ms = Time::new(recent.last_ms);
        self.causes = recent.causes;
    }

    fn set_flag(&mut self, flag: u16, is_set: bool) {
        self.flags = if is_set {
            self.flags | flag
        } else {
            self.flags & !flag
        };
    }
}

/// Unix time in ms in 48 bits: from 1970 for 8900 years. What is before or after is at the edge, which for `i64::MAX` is for ever.
#[derive(Clone, Copy)]
struct Time([u16; 3]);

const TIME_MAX: u64 = (1 << 48) - 1;

impl Time {
    fn new(ms: i64) -> Self {
        let ms = u64::try_from(ms).unwrap_or(0).min(TIME_MAX);
        Self([ms as u16, (ms >> 16) as u16, (ms >> 32) as u16])
    }

    fn ms(self) -> i64 {
        let [a, b, c] = self.0.map(u64::from);
        let ms = c << 32 | b << 16 | a;
        if ms == TIME_MAX {
            i64::MAX
        } else {
            ms.cast_signed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back() {
        for suite in Suite::ALL {
            for form in FORMS {
                for (fleet, is_keyed) in [(0, false), (1, true), (u16::MAX, true)] {
                    let class = Class::new(suite, form, fleet, is_keyed);
                    assert_eq!(
                        (class.suite(), class.form(), class.fleet(), class.is_keyed()),
                        (suite, form, fleet, is_keyed)
                    );
                    assert_eq!(class.kind(), Class::new(suite, form, 0, is_keyed));
                }
            }
        }
        for tag_len in TAG_LENS {
            for device_type in TYPES {
                for credential in CREDENTIALS {
                    let mut packed = Packed::new(-7, tag_len, device_type, credential);
                    packed.set_disabled(true);
                    packed.set_counter_last(Some(u32::MAX));
                    packed.set_key_until_ms(1_795_000_000_123);
                    assert_eq!(packed.row(), -7);
                    assert_eq!(packed.tag_len(), tag_len);
                    assert_eq!(packed.device_type(), device_type);
                    assert_eq!(packed.credential(), credential);
                    assert_eq!(packed.key_until_ms(), 1_795_000_000_123);
                    assert_eq!(packed.counter_last(), Some(u32::MAX));
                    assert!(packed.is_disabled());
                    packed.set_disabled(false);
                    packed.set_counter_last(None);
                    packed.set_key_until_ms(i64::MAX);
                    assert_eq!(packed.key_until_ms(), i64::MAX);
                    assert_eq!(packed.counter_last(), None);
                    assert!(!packed.is_disabled());
                    assert_eq!(packed.tag_len(), tag_len);
                }
            }
        }
    }

    #[test]
    fn a_device_takes_few_octets() {
        assert_eq!(size_of::<Packed>() + size_of::<Class>(), 38);
    }
}
