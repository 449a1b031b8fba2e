//! What the server does: `work.Worker` and `grpc.health.v1.Health`.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use tonic::codegen::async_trait;
use tonic::{Request, Response, Status, Streaming};

use super::proto::health::HealthCheckRequest;
use super::proto::health::HealthCheckResponse;
use super::proto::health::health_check_response::ServingStatus;
use super::proto::health::health_server::Health;
use super::proto::work::worker_server::Worker;
use super::proto::work::{Job, Progress, Result as Answer};
use super::steps::Steps;
use super::workshop::{Caller, Wanted, Workshop};

/// A server that watches over its work says how far it is so often.
const REPORTS: u32 = 10;
/// Jobs of one call at most.
const MOST_JOBS: u32 = 10_000;

/// The service.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) shop: Arc<Workshop>,
    /// Whether work stops when its caller has given up.
    pub(super) stops: bool,
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::internal("a call from nobody"))
}

/// The job's result: its input hashed, and the hash hashed, as often as the job is large.
fn answer(job: &Job) -> Answer {
    let mut last = digest(&SHA256, &job.input);
    for _ in 1..job.size {
        last = digest(&SHA256, last.as_ref());
    }
    Answer { number: job.number, done: u64::from(job.size), digest: last.as_ref().to_vec() }
}

impl Services {
    /// Does a job and stops when nobody waits any more.
    async fn work(&self, caller: &Caller, job: &Job) -> Result<Answer, Status> {
        let mut work = self.shop.take(caller, job.size).await?;
        work.go_on(job.size).await?;
        work.finish();
        Ok(answer(job))
    }

    /// Does a job to its end whatever becomes of the call, as a program that does not look does.
    async fn toil(&self, caller: &Caller, job: Job) -> Result<Answer, Status> {
        let caller = Caller { deadline: None, ..caller.clone() };
        let (shop, wanted) = (Arc::clone(&self.shop), Wanted::new(self.shop.net()));
        let gone = wanted.gone();
        let done = self.shop.net().spawn(async move {
            let mut work = shop.take(&caller, job.size).await?;
            work.unless_unwanted(gone);
            work.go_on(job.size).await?;
            work.finish();
            Ok(answer(&job))
        });
        let result = done.await;
        wanted.answered();
        result
    }

    /// The next message of a client's stream.
    async fn next(&self, caller: &Caller, jobs: &mut Streaming<Job>) -> Result<Option<Job>, Status> {
        self.shop.in_time(caller, jobs.message()).await?
    }
}

#[async_trait]
impl Worker for Services {
    type WatchStream = Steps<Result<Progress, Status>>;
    type ConverseStream = Steps<Result<Answer, Status>>;

    async fn compute(&self, request: Request<Job>) -> Result<Response<Answer>, Status> {
        let caller = caller(&request)?;
        let job = request.into_inner();
        let answer = if self.stops { self.work(&caller, &job).await } else { self.toil(&caller, job).await };
        answer.map(Response::new)
    }

    async fn watch(&self, request: Request<Job>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let (job, shop) = (request.into_inner(), Arc::clone(&self.shop));
        let mut work = shop.take(&caller, job.size).await?;
        Ok(Response::new(Steps::of(|slot| async move {
            let (number, size) = (job.number, job.size);
            let piece = size.div_ceil(REPORTS).max(1);
            loop {
                let done = match work.go_on(piece).await {
                    Ok(done) => done,
                    Err(status) => return slot.give(Err(status)).await,
                };
                if done == size {
                    break;
                }
                slot.give(Ok(Progress { number, done, size, result: None })).await;
            }
            work.finish();
            let result = Some(answer(&job));
            slot.give(Ok(Progress { number, done: size, size, result })).await;
        })))
    }

    async fn gather(&self, request: Request<Streaming<Job>>) -> Result<Response<Answer>, Status> {
        let caller = caller(&request)?;
        let mut jobs = request.into_inner();
        let mut all = Answer::default();
        let mut came = 0;
        while let Some(job) = self.next(&caller, &mut jobs).await? {
            came += 1;
            if came > MOST_JOBS {
                return Err(Status::resource_exhausted(format!("{MOST_JOBS} jobs at most")));
            }
            let one = self.work(&caller, &job).await?;
            let chained = [all.digest.as_slice(), one.digest.as_slice()].concat();
            let digest = digest(&SHA256, &chained).as_ref().to_vec();
            all = Answer { number: one.number, done: all.done + one.done, digest };
        }
        Ok(Response::new(all))
    }

    async fn converse(
        &self,
        request: Request<Streaming<Job>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let caller = caller(&request)?;
        let (mut jobs, services) = (request.into_inner(), self.clone());
        Ok(Response::new(Steps::of(|slot| async move {
            for _ in 0..MOST_JOBS {
                let job = match services.next(&caller, &mut jobs).await {
                    Ok(Some(job)) => job,
                    Ok(None) => return,
                    Err(status) => return slot.give(Err(status)).await,
                };
                match services.work(&caller, &job).await {
                    Ok(answer) => slot.give(Ok(answer)).await,
                    Err(status) => return slot.give(Err(status)).await,
                }
            }
            let status = Status::resource_exhausted(format!("{MOST_JOBS} jobs at most"));
            slot.give(Err(status)).await;
        })))
    }
}

#[async_trait]
impl Health for Services {
    type WatchStream = Steps<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "" | "work.Worker" => {
                Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
            }
            other => Err(Status::not_found(format!("no service {other:?} here"))),
        }
    }

    /// Says how it is; that never changes, so nothing more is said until the call ends.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request)?;
        let status = match request.get_ref().service.as_str() {
            "" | "work.Worker" => ServingStatus::Serving,
            _ => ServingStatus::ServiceUnknown,
        };
        let shop = Arc::clone(&self.shop);
        Ok(Response::new(Steps::of(|slot| async move {
            slot.give(Ok(HealthCheckResponse { status: status.into() })).await;
            if let Err(status) = shop.in_time(&caller, std::future::pending::<()>()).await {
                slot.give(Err(status)).await;
            }
        })))
    }
}
