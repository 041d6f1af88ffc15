//! MQTT 5: messages published with QoS 1, each held until the broker has acknowledged it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::PublishProperties;
use rumqttc::{
    AsyncClient, Broker, ConnectionError, EventLoop, MqttOptions, PublishNotice, PublishNoticeError,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::message::Message;
use super::net::Network;
use super::sink::{Failed, Outcome, Outgoing};
use crate::subscription::{Sink, Subscription, target};

/// How long a broker may take over its acknowledgements.
const PATIENCE: Duration = Duration::from_secs(15);

/// Messages that wait for the connection's task.
const QUEUE: usize = 256;

/// The broker of one subscription.
pub(super) struct Mqtt {
    network: Network,
    client_id: String,
    host: String,
    port: u16,
    is_tls: bool,
    topic: String,
    username: Option<String>,
    password_file: Option<PathBuf>,
    session: Option<Session>,
}

/// A connection: it ends with the first error, and another is made.
struct Session {
    client: AsyncClient,
    task: JoinHandle<Failed>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mqtt {
    /// `None` if the subscription has no broker.
    pub(super) fn new(subscription: &Subscription, network: Network) -> Option<Self> {
        let Sink::Mqtt {
            url,
            topic,
            username,
            password_file,
        } = &subscription.sink
        else {
            return None;
        };
        let (host, port) = target(&subscription.sink)?;
        Some(Self {
            network,
            client_id: format!("ambit-{}", subscription.id),
            host,
            port,
            is_tls: url.starts_with("mqtts://"),
            topic: topic.clone(),
            username: username.clone(),
            password_file: password_file.clone(),
            session: None,
        })
    }

    /// Publishes all at once, and waits for the acknowledgements.
    pub(super) async fn send(&mut self, wave: &[Outgoing]) -> Vec<Outcome> {
        let session = match self
            .session
            .take()
            .filter(|session| !session.task.is_finished())
        {
            Some(session) => session,
            None => match self.connect().await {
                Ok(session) => session,
                Err(failed) => return vec![Outcome::Failed(failed); wave.len()],
            },
        };
        let mut notices = Vec::with_capacity(wave.len());
        for outgoing in wave {
            notices.push(self.publish(&session.client, &outgoing.message).await);
        }
        let mut outcomes = Vec::with_capacity(wave.len());
        let mut is_broken = false;
        for notice in notices {
            let acknowledged = match notice {
                Some(notice) if !is_broken => timeout(PATIENCE, notice.wait_async()).await.ok(),
                _ => None,
            };
            outcomes.push(match acknowledged {
                Some(Ok(_)) => Outcome::Taken,
                // The broker is there, and does not want this: another right, quota or topic may change its mind.
                Some(Err(PublishNoticeError::V5PubAck(reason))) => Outcome::Failed(Failed {
                    is_answer: true,
                    ..Failed::new(
                        "broker_refused",
                        format!("{}: PUBACK {reason:?}", self.host),
                    )
                }),
                Some(Err(_)) | None => {
                    is_broken = true;
                    Outcome::Held
                }
            });
        }
        if is_broken {
            let why = self.why(session).await;
            for outcome in &mut outcomes {
                if matches!(outcome, Outcome::Held) {
                    *outcome = Outcome::Failed(why.clone());
                }
            }
        } else {
            self.session = Some(session);
        }
        outcomes
    }

    /// Why a connection ended, if it has.
    async fn why(&self, mut session: Session) -> Failed {
        match timeout(Duration::from_millis(200), &mut session.task).await {
            Ok(Ok(failed)) => failed,
            _ => Failed::new(
                "sink_unreachable",
                format!("{}: no acknowledgement in time", self.host),
            ),
        }
    }

    async fn publish(&self, client: &AsyncClient, message: &Message) -> Option<PublishNotice> {
        let topic = topic(&self.topic, message);
        let properties = PublishProperties {
            content_type: Some("application/cloudevents+json".into()),
            user_properties: vec![
                ("idempotency-key".into(), message.id.clone()),
                ("type".into(), message.what.name().into()),
            ],
            ..PublishProperties::default()
        };
        let body = message.body();
        let queued = client.publish_bytes_with_properties_tracked(
            topic,
            QoS::AtLeastOnce,
            false,
            body,
            properties,
        );
        timeout(PATIENCE, queued).await.ok()?.ok()
    }

    /// Makes a connection, and sees that the broker takes it.
    async fn connect(&self) -> Result<Session, Failed> {
        let mut options = MqttOptions::new(&self.client_id, Broker::tcp(&self.host, self.port));
        options
            .set_keep_alive(30)
            .set_clean_start(true)
            .set_connect_timeout(PATIENCE);
        if let Some(username) = &self.username {
            match &self.password_file {
                None => options.set_username(username),
                Some(path) => {
                    let password = read_password(path)
                        .map_err(|error| Failed::new("sink_file", error.to_string()))?;
                    options.set_credentials(username, password.as_bytes().to_vec())
                }
            };
        }
        // The connection is made here, so that an error has its name.
        let stream = self
            .network
            .connect(&self.host, self.port, self.is_tls)
            .await?;
        let made = std::sync::Mutex::new(Some(stream));
        options.set_socket_connector(move |_, _| {
            let stream = made.lock().ok().and_then(|mut made| made.take());
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        let (client, mut events) = AsyncClient::builder(options).capacity(QUEUE).build();
        match timeout(PATIENCE, events.poll()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(failed(&self.host, &error)),
            Err(_) => {
                let error = format!("{}: no CONNACK in time", self.host);
                return Err(Failed::new("sink_unreachable", error));
            }
        }
        let task = tokio::spawn(run(events, self.host.clone()));
        Ok(Session { client, task })
    }
}

/// Runs a connection until it ends, and says why.
async fn run(mut events: EventLoop, host: String) -> Failed {
    loop {
        if let Err(error) = events.poll().await {
            return failed(&host, &error);
        }
    }
}

fn failed(host: &str, error: &ConnectionError) -> Failed {
    let name = match error {
        ConnectionError::ConnectionRefused(_) => "broker_refused",
        _ => "sink_unreachable",
    };
    Failed::new(name, format!("{host}: {error}"))
}

/// The topic of a message. What a fleet's name has that would make it several levels, or a wildcard, is replaced.
fn topic(template: &str, message: &Message) -> String {
    let fleet: String = message
        .fleet
        .chars()
        .map(|c| match c {
            '/' | '+' | '#' | '\0' => '_',
            other => other,
        })
        .collect();
    let name = |octets: Option<String>| octets.unwrap_or_else(|| "none".to_owned());
    template
        .replace(
            "{device}",
            &name(message.device_id.as_ref().map(hex::encode)),
        )
        .replace("{area}", &name(message.area_id.map(hex::encode)))
        .replace("{what}", message.what.name())
        .replace("{fleet}", if fleet.is_empty() { "none" } else { &fleet })
}

/// A password from a file that is its owner's alone, without the end of the line.
fn read_password(path: &Path) -> io::Result<Zeroizing<String>> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mode = std::fs::metadata(path).map_err(named)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let rule = format!(
            "{}: has mode {mode:o}, must be its owner's alone (0600)",
            path.display()
        );
        return Err(io::Error::other(rule));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(named)?);
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}
