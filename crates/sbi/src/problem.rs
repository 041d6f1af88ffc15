//! Errors as peers see them: ProblemDetails (TS 29.571) with the causes of TS 29.500 clause 5.2.7.2.

use serde_json::{Value, json};

/// Why a request was refused. What goes into `detail` names the parameter and the rule, never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Protocol or application error.
    pub cause: &'static str,
    /// What happened.
    pub detail: String,
    /// The parameters at fault, each with the rule: JSON pointers into the body, names of query parameters.
    pub invalid_params: Vec<(String, String)>,
    /// Methods that the resource has, for 405; media types, for 415.
    pub allowed: Option<String>,
    /// When to come again, in seconds.
    pub retry_after_s: Option<u32>,
    /// The error code of the token check (RFC 6750), for `WWW-Authenticate`.
    pub token_error: Option<&'static str>,
}

impl Problem {
    fn new(status: u16, cause: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            cause,
            detail: detail.into(),
            invalid_params: Vec::new(),
            allowed: None,
            retry_after_s: None,
            token_error: None,
        }
    }

    fn parameter(status: u16, cause: &'static str, param: String, rule: String) -> Self {
        let mut problem = Self::new(status, cause, format!("{param}: {rule}"));
        problem.invalid_params.push((param, rule));
        problem
    }

    /// 400: the body is not JSON, or not of this shape.
    pub fn message_format(detail: impl Into<String>) -> Self {
        Self::new(400, "INVALID_MSG_FORMAT", detail)
    }

    /// 400: a parameter that must be there is not.
    pub fn missing(param: impl Into<String>) -> Self {
        Self::parameter(
            400,
            "MANDATORY_IE_MISSING",
            param.into(),
            "must be there".into(),
        )
    }

    /// 400: a parameter that must be there breaks a rule.
    pub fn incorrect(param: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::parameter(400, "MANDATORY_IE_INCORRECT", param.into(), rule.into())
    }

    /// 400: a parameter that may be there breaks a rule.
    pub fn optional_incorrect(param: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::parameter(400, "OPTIONAL_IE_INCORRECT", param.into(), rule.into())
    }

    /// 400: a query parameter that must be there is not.
    pub fn query_missing(param: impl Into<String>) -> Self {
        Self::parameter(
            400,
            "MANDATORY_QUERY_PARAM_MISSING",
            param.into(),
            "must be there".into(),
        )
    }

    /// 400: a query parameter breaks a rule.
    pub fn query_incorrect(param: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::parameter(400, "INVALID_QUERY_PARAM", param.into(), rule.into())
    }

    /// 400 with an application error of the service at hand.
    pub fn refused(cause: &'static str, detail: impl Into<String>) -> Self {
        Self::new(400, cause, detail)
    }

    /// 401: no token, or one that does not verify.
    pub fn unauthorized(detail: impl Into<String>, token_error: Option<&'static str>) -> Self {
        let mut problem = Self::new(401, "UNAUTHORIZED", detail);
        problem.token_error = Some(token_error.unwrap_or(""));
        problem
    }

    /// 403: the token is good, but not for this.
    pub fn scope(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(403, "INSUFFICIENT_SCOPE", detail);
        problem.token_error = Some("insufficient_scope");
        problem
    }

    /// 403 with an application error.
    pub fn forbidden(cause: &'static str, detail: impl Into<String>) -> Self {
        Self::new(403, cause, detail)
    }

    /// 404: no such resource in this API.
    pub fn no_resource() -> Self {
        Self::new(404, "RESOURCE_URI_STRUCTURE_NOT_FOUND", "no such resource")
    }

    /// 404 with an application error: the resource exists in this API, what it names does not.
    pub fn not_found(cause: &'static str, detail: impl Into<String>) -> Self {
        Self::new(404, cause, detail)
    }

    /// 405.
    pub fn method(allowed: String) -> Self {
        let detail = format!("the resource takes {allowed}");
        Self {
            allowed: Some(allowed),
            ..Self::new(405, "METHOD_NOT_ALLOWED", detail)
        }
    }

    /// 406: the answer cannot be had in a media type that the client takes.
    pub fn not_acceptable(media_type: &str) -> Self {
        let detail = format!("Accept: must allow {media_type}");
        Self::new(406, "NOT_ACCEPTABLE", detail)
    }

    /// 413.
    pub fn too_large(octets_max: usize) -> Self {
        Self::new(
            413,
            "PAYLOAD_TOO_LARGE",
            format!("the body may have {octets_max} octets"),
        )
    }

    /// 415.
    pub fn media_type(allowed: &str) -> Self {
        let detail = format!("Content-Type: must be {allowed}");
        Self {
            allowed: Some(allowed.to_owned()),
            ..Self::new(415, "UNSUPPORTED_MEDIA_TYPE", detail)
        }
    }

    /// 429: more at once than this function takes.
    pub fn overload(retry_after_s: u32) -> Self {
        let problem = Self::new(429, "NF_CONGESTION_RISK", "too many requests at once");
        Self {
            retry_after_s: Some(retry_after_s),
            ..problem
        }
    }

    /// 500.
    pub fn system_failure(detail: impl Into<String>) -> Self {
        Self::new(500, "SYSTEM_FAILURE", detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        let problem = Self::new(503, "NF_FAILOVER", detail);
        Self {
            retry_after_s: Some(retry_after_s),
            ..problem
        }
    }

    /// 504: the client's own deadline (3gpp-Sbi-Max-Rsp-Time), or the server's, has passed.
    pub fn timed_out() -> Self {
        Self::new(504, "TIMED_OUT_REQUEST", "no answer in time")
    }

    /// The ProblemDetails.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "status": self.status,
            "cause": self.cause,
            "title": title(self.status),
            "detail": self.detail,
        });
        if !self.invalid_params.is_empty() {
            let params = self.invalid_params.iter();
            let params: Value = params
                .map(|(param, reason)| json!({ "param": param, "reason": reason }))
                .collect();
            crate::json::set(&mut body, "invalidParams", params);
        }
        body
    }
}

fn title(status: u16) -> &'static str {
    hyper::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error")
}
