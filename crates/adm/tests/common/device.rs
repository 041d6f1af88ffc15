//! A device: builds reports of any form and checks ACCEPTs.

use ambit_protocol::schedule::{self, cut};
use ambit_protocol::wire::{REPORT_OCTETS_MAX, ReportId};
use ambit_protocol::{
    AreaId, Cause, DeviceForm, DeviceType, Exchange, Form, Item, KAiotf, RandN, RootKey, Suite,
    TagLen,
};
use ambit_provisioning::{CredentialKind, DeviceSpec};

pub struct Device {
    pub id: Vec<u8>,
    pub key: [u8; 16],
    pub suite: Suite,
    pub len: TagLen,
    pub form: DeviceForm,
    pub fleet: String,
    /// The last counter used.
    pub counter: u32,
    pub area_id: AreaId,
    rng: fastrand::Rng,
}

/// A report that was sent.
pub struct Sent {
    pub nas: Vec<u8>,
    pub exchange: Exchange,
}

/// The form of the devices that send a report form.
pub fn device_form(form: Form) -> DeviceForm {
    match form {
        Form::Beacon => DeviceForm::Beacon,
        Form::Concealed => DeviceForm::Concealed,
        Form::Counter | Form::Recovery => DeviceForm::Counter,
        Form::Blind => DeviceForm::Blind,
        Form::Aka => panic!("no form of report"),
    }
}

/// One device for each report form, with the report form.
pub fn all_forms() -> Vec<(Form, Device)> {
    Form::ALL
        .into_iter()
        .map(|form| (form, Device::new(form.name(), device_form(form))))
        .collect()
}

impl Device {
    pub fn new(name: &str, form: DeviceForm) -> Self {
        let seed = name.bytes().fold(7, |seed, c| seed * 31 + u64::from(c));
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            id: name.as_bytes().to_vec(),
            key: std::array::from_fn(|_| rng.u8(..)),
            suite: Suite::AesCmac,
            len: TagLen::T8,
            form,
            fleet: "default".into(),
            counter: 0,
            area_id: super::area(1),
            rng,
        }
    }

    pub fn spec(&self) -> DeviceSpec {
        DeviceSpec {
            device_id: self.id.clone(),
            device_type: DeviceType::Type2b,
            suite: self.suite,
            form: self.form,
            key: Some(RootKey::new(self.key)),
            tag_len: self.len,
            fleet: self.fleet.clone(),
            credential: CredentialKind::Operator,
            line: 0,
        }
    }

    /// The report form that it usually sends.
    pub fn usual(&self) -> Form {
        match self.form {
            DeviceForm::Beacon => Form::Beacon,
            DeviceForm::Concealed => Form::Concealed,
            DeviceForm::Counter => Form::Counter,
            DeviceForm::Blind => Form::Blind,
            DeviceForm::Dt => panic!("never speaks first"),
        }
    }

    /// A new report of its usual form.
    pub fn send(&mut self, rand_n: RandN, cause: Cause, seq: u8) -> Sent {
        self.send_as(self.usual(), rand_n, cause, seq)
    }

    /// A new report: fresh RAND_d or next counter.
    pub fn send_as(&mut self, form: Form, rand_n: RandN, cause: Cause, seq: u8) -> Sent {
        self.counter += 1;
        self.build(form, rand_n, cause, seq)
    }

    /// A report with this counter.
    pub fn send_counter(&mut self, form: Form, rand_n: RandN, counter: u32, seq: u8) -> Sent {
        self.counter = counter;
        self.build(form, rand_n, Cause::Event, seq)
    }

    fn build(&mut self, form: Form, rand_n: RandN, cause: Cause, seq: u8) -> Sent {
        let key = RootKey::new(self.key).prf_key(self.suite);
        let (counter, area_id) = (self.counter, &self.area_id);
        let (rand_4, rand_8) = (
            self.rng.u32(..).to_be_bytes(),
            self.rng.u64(..).to_be_bytes(),
        );
        let counted = schedule::counter_k_aiotf(&rand_n, area_id, counter);
        let counter_t_id = || cut(&key.evaluate(&schedule::counter_t_id(counter)));
        let (id, input) = match form {
            Form::Beacon => (
                ReportId::Beacon {
                    t_id: cut(&key.evaluate(&schedule::beacon_t_id(&rand_n))),
                    rand_d: rand_4,
                },
                schedule::beacon_k_aiotf(&rand_n, area_id, &rand_4),
            ),
            Form::Concealed => (
                ReportId::Concealed {
                    cid: cut(&key.evaluate(&schedule::concealed_id(&rand_n, &rand_8))),
                    rand_d: rand_8,
                },
                schedule::concealed_k_aiotf(&rand_n, area_id, &rand_8),
            ),
            Form::Counter => (
                ReportId::Counter {
                    t_id: counter_t_id(),
                },
                counted,
            ),
            Form::Recovery => (
                ReportId::Recovery {
                    counter,
                    t_id: counter_t_id(),
                },
                counted,
            ),
            Form::Blind => (
                ReportId::Blind {
                    t_id: counter_t_id(),
                },
                schedule::blind_k_aiotf(counter),
            ),
            Form::Aka => panic!("no form of report"),
        };
        let item = Item {
            cause,
            seq,
            data: b"21.5 C",
        };
        let k_aiotf = KAiotf::new(key.evaluate(&input));
        let mut out = [0; REPORT_OCTETS_MAX];
        let (exchange, octets) =
            Exchange::seal_report(self.suite, &k_aiotf, &id, &item, self.len, &mut out).unwrap();
        Sent {
            nas: out[..octets].to_vec(),
            exchange,
        }
    }
}
