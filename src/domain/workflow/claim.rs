//! What a report means to a step: taken, known already, or refused. Looks at one step only and changes nothing.

use super::step::{Past, Step, StepStatus};
use crate::domain::{
    command::{ReportStep, StepReport},
    ids::ServerId,
};

/// What becomes of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is taken, for this attempt.
    Take(u32),
    /// It says what is known already.
    Known,
    /// The step's state doesn't allow it: the slug and why.
    Refuse(&'static str, String),
}

/// Judges a report on a step of a running workflow or an ended one (where nothing can be taken any more,
/// which is the caller's affair).
pub(super) fn judge(step: &Step, report: &ReportStep) -> Verdict {
    if let (Some(declared), Some(server)) = (&step.plan.declaration.server, &report.server)
        && declared != server
    {
        return refuse(
            "step-belongs-elsewhere",
            format!("step {} is declared for server {declared}", report.step),
        );
    }
    match &report.report {
        StepReport::Running => judge_claim(step, report),
        StepReport::Completed { .. } | StepReport::Failed { .. } => judge_end(step, report),
    }
}

fn judge_claim(step: &Step, report: &ReportStep) -> Verdict {
    let current = step.run.current_attempt();
    match step.run.status {
        StepStatus::Pending => not_ready(step, report),
        StepStatus::Completed | StepStatus::Failed | StepStatus::Aborted => ended(step, report),
        StepStatus::Ready => match report.attempt {
            Some(attempt) if attempt != current => other_attempt(step, report, attempt),
            _ => Verdict::Take(current),
        },
        StepStatus::Running => {
            if step.run.orphaned || !is_holders(step, report) {
                return held(step, report);
            }
            match report.attempt {
                Some(attempt) if attempt != current => other_attempt(step, report, attempt),
                _ => Verdict::Known,
            }
        }
    }
}

fn judge_end(step: &Step, report: &ReportStep) -> Verdict {
    let run = &step.run;
    if run.status == StepStatus::Pending && run.attempt == 0 {
        return not_ready(step, report);
    }
    let current = run.current_attempt();
    let meant = match report.attempt {
        Some(attempt) => attempt,
        None if current == 1 => 1,
        None => {
            let why = format!(
                "step {} is at attempt {current}: a report on it names its attempt",
                report.step
            );
            return refuse("attempt-missing", why);
        }
    };
    if meant == 0 || meant > current {
        return other_attempt(step, report, meant);
    }
    if let Some(past) = run.past.get(meant as usize - 1) {
        return match &report.report {
            StepReport::Failed { error } if is_own(past, report.server.as_ref(), error) => {
                Verdict::Known
            }
            _ if run.status == StepStatus::Failed && meant == current => ended(step, report),
            _ => other_attempt(step, report, meant),
        };
    }
    if meant < current {
        return other_attempt(step, report, meant);
    }
    match run.status {
        StepStatus::Pending => not_ready(step, report),
        StepStatus::Ready => Verdict::Take(current),
        StepStatus::Running if run.orphaned => {
            let why = format!(
                "the holder of step {} is gone: attempt {current} counts as failed",
                report.step
            );
            refuse("attempt-stale", why)
        }
        StepStatus::Running if is_holders(step, report) || run.server.is_none() => {
            Verdict::Take(current)
        }
        StepStatus::Running => held(step, report),
        StepStatus::Completed if is_same_completion(step, report) => Verdict::Known,
        StepStatus::Completed | StepStatus::Failed | StepStatus::Aborted => ended(step, report),
    }
}

/// Whether a report comes from whoever holds the step: the same server, by the same instance as far as both
/// name one, or whoever coordinates, who names no server.
fn is_holders(step: &Step, report: &ReportStep) -> bool {
    let Some(server) = &report.server else {
        return true;
    };
    let same_instance = match (&step.run.instance, &report.instance_id) {
        (Some(holder), Some(reporter)) => holder == reporter,
        _ => true,
    };
    step.run.server.as_ref() == Some(server) && same_instance
}

/// Whether a failure report is a past attempt's own. Where the hub gave the attempt up, its holder's words
/// for the failure can't have been known.
fn is_own(past: &Past, server: Option<&ServerId>, error: &str) -> bool {
    let same_server = match (&past.server, server) {
        (Some(past), Some(server)) => past == server,
        _ => true,
    };
    same_server && (!past.reported || &*past.error == error)
}

fn is_same_completion(step: &Step, report: &ReportStep) -> bool {
    let StepReport::Completed { result } = &report.report else {
        return false;
    };
    let same_server = match (&step.run.server, &report.server) {
        (Some(did), Some(server)) => did == server,
        _ => true,
    };
    same_server && super::same_json(step.run.result.as_ref(), result.as_ref())
}

fn not_ready(step: &Step, report: &ReportStep) -> Verdict {
    let why = format!(
        "step {} waits for {} of its dependencies",
        report.step, step.run.waiting
    );
    refuse("step-not-ready", why)
}

fn held(step: &Step, report: &ReportStep) -> Verdict {
    let holder = match &step.run.server {
        Some(server) => format!("server {server}"),
        None => "whoever coordinates".to_owned(),
    };
    refuse(
        "step-held",
        format!(
            "step {} is held by {holder} at attempt {}",
            report.step, step.run.attempt
        ),
    )
}

fn ended(step: &Step, report: &ReportStep) -> Verdict {
    refuse(
        "step-ended",
        format!(
            "step {} has already ended: it is {}",
            report.step,
            step.run.status.as_str()
        ),
    )
}

fn other_attempt(step: &Step, report: &ReportStep, meant: u32) -> Verdict {
    let current = step.run.current_attempt();
    let slug = if meant < current || step.run.past.len() >= meant as usize {
        "attempt-stale"
    } else {
        "attempt-unknown"
    };
    refuse(
        slug,
        format!("step {} is at attempt {current}, not {meant}", report.step),
    )
}

fn refuse(slug: &'static str, why: String) -> Verdict {
    Verdict::Refuse(slug, why)
}
