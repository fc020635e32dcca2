//! Broadcasts by cron expression. The only file naming tokio-cron-scheduler.
//!
//! The scheduler looks each half second and starts anywhere in the second, which is what cron
//! asks for; a job only posts to a channel, so that jobs neither overlap nor hold it up.

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tracing::{info, warn};

use super::metrics::publish_patiently;
use crate::broker::Broker;
use crate::message::Publication;

/// A message and when it is published.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// Its name in the log.
    pub name: String,
    /// A cron expression with seconds.
    pub cron: String,
    /// What is published.
    pub publication: Publication,
}

/// Publishes all of them at their times; ends only where there are none, or on an error.
///
/// # Errors
/// The scheduler does not take an expression.
pub async fn run(broker: Broker, broadcasts: Vec<Broadcast>) -> Result<(), JobSchedulerError> {
    if broadcasts.is_empty() {
        return Ok(());
    }
    let mut scheduler = JobScheduler::new().await?;
    let (due, mut next) = mpsc::channel::<Broadcast>(DUE);
    for broadcast in broadcasts {
        let due = due.clone();
        info!(name = broadcast.name, cron = broadcast.cron, destination = %broadcast.publication.destination, "scheduled");
        let cron = broadcast.cron.clone();
        let job = Job::new(cron.as_str(), move |_, _| {
            if due.try_send(broadcast.clone()).is_err() {
                warn!(name = broadcast.name, "left out: the broadcasts before it are still waiting");
            }
        })?;
        scheduler.add(job).await?;
    }
    scheduler.start().await?;
    while let Some(broadcast) = next.recv().await {
        info!(name = broadcast.name, "scheduled broadcast");
        publish_patiently(&broker, broadcast.publication).await;
    }
    scheduler.shutdown().await
}

/// Broadcasts that may wait for a busy shard.
const DUE: usize = 64;
