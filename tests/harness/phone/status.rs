//! A phone of a centralised country: it enrols with the national system, and asks it for its status.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::Phone;
use super::showing::Says;
use crate::national::{ENROL, Enrolled, STATUS, Status};

impl Phone {
    /// Tells the national system the name that it seals into its service tokens; again whenever it takes another.
    pub async fn enrol(&self, national: SocketAddr) -> Result<()> {
        let (status, _) = self.tell(national, ENROL, self.in_secured()?.name()).await?;
        ensure!(status == StatusCode::CREATED, "the national system does not enrol: {status}");
        Ok(())
    }

    /// Asks the national system at a Unix time whether its owner was exposed, under its name and the one before. The
    /// owner sees it later: [`Phone::shown`].
    pub async fn ask_national(&mut self, national: SocketAddr, now: u64) -> Result<Status> {
        let mut all = Status { risk: 0, exposed: false };
        let names: Vec<_> = self.in_secured()?.names().collect();
        for name in names {
            let (status, body) = self.tell(national, STATUS, name).await?;
            ensure!(status == StatusCode::OK, "the national system does not know {self}: {status}");
            let Status { risk, exposed } = serde_json::from_slice(&body).context("a status is JSON")?;
            all = Status { risk: all.risk.saturating_add(risk), exposed: all.exposed || exposed };
        }
        self.showing.exposed(Says::National, all.exposed, now);
        Ok(all)
    }

    async fn tell(&self, national: SocketAddr, path: &str, phone: String) -> Result<(StatusCode, Bytes)> {
        let body = serde_json::to_vec(&Enrolled { phone })?;
        let request = Request::post(format!("http://{national}{path}")).body(Full::new(Bytes::from(body)))?;
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let (head, body) = client.request(request).await?.into_parts();
        Ok((head.status, body.collect().await?.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proto::day::Day;

    use super::super::testing::{NOW, secured};
    use crate::national::{National, Status};

    #[tokio::test]
    async fn an_enrolled_phone_is_told_its_status_and_a_stranger_nothing() {
        let (national, mut phone) = (National::start().await.unwrap(), secured("250/0"));
        assert!(phone.ask_national(national.address(), NOW).await.is_err());
        phone.enrol(national.address()).await.unwrap();
        let status = phone.ask_national(national.address(), NOW).await.unwrap();
        assert_eq!(status, Status { risk: 0, exposed: false });
    }

    #[tokio::test]
    async fn a_phone_that_has_taken_another_name_asks_under_both() {
        let (national, mut phone) = (National::start().await.unwrap(), secured("250/0"));
        phone.enrol(national.address()).await.unwrap();
        let own = phone.in_secured_mut().unwrap();
        own.named = Some(Day::of_unix(NOW));
        own.renew(Day::of_unix(NOW).plus(28));
        assert!(phone.ask_national(national.address(), NOW).await.is_err(), "it must enrol again");
        phone.enrol(national.address()).await.unwrap();
        assert!(phone.ask_national(national.address(), NOW).await.is_ok());
    }
}
