//! What a system on the machines' network finds when it knocks at another.

use super::{
    syntax::Refused,
    task::{Cx, Running, Stream, Task},
};
use crate::cvm::reach::Reach;
use std::{net::Ipv4Addr, time::Duration};

/// After so long the kernel gives up a connection that nobody answers.
const CONNECT_LIMIT: Duration = Duration::from_secs(127);

/// `</dev/tcp/HOST/PORT`
pub fn connect(task: &mut Task, cx: &mut Cx<'_>, to: &str) -> Result<(), Refused> {
    let at = to.split_once('/').and_then(|(ip, port)| Some((ip.parse().ok()?, port.parse().ok()?)));
    let Some((ip, port)) = at else { return Err(Refused(format!("/dev/tcp/{to}"))) };
    match cx.fleet.reach(cx.now, cx.place, ip, port) {
        Reach::Open => task.status = 0,
        Reach::Refused => {
            task.say(
                cx,
                Stream::Err,
                &format!("bash: connect: Connection refused\nbash: /dev/tcp/{to}: Connection refused"),
            );
            task.status = 1;
        }
        Reach::Silent => {
            let until = cx.now + cx.fleet.pace.exactly(CONNECT_LIMIT);
            task.wait_for(Running::Until(until, 1));
        }
    }
    Ok(())
}

/// `ping -c 1 -W SECONDS IP`
pub fn ping(task: &mut Task, cx: &mut Cx<'_>, arguments: &[&str]) -> Result<(), Refused> {
    let ["-c", "1", "-W", wait, ip] = arguments else { return Err(Refused("ping without -c 1 -W SECONDS".into())) };
    let (Ok(wait), Ok(ip)) = (wait.parse(), ip.parse::<Ipv4Addr>()) else {
        return Err(Refused("ping of anything but an IPv4 address".into()));
    };
    let (lost, status) = if cx.fleet.pings(cx.now, cx.place, ip) { (0, 0) } else { (100, 1) };
    let received = 1 - status;
    let told = format!(
        "PING {ip} ({ip}) 56(84) bytes of data.\n\n--- {ip} ping statistics ---\n\
         1 packets transmitted, {received} received, {lost}% packet loss, time 0ms"
    );
    task.say(cx, Stream::Out, &told);
    let until = cx.now + cx.fleet.pace.exactly(Duration::from_secs(wait));
    if status == 0 {
        task.status = 0
    } else {
        task.wait_for(Running::Until(until, status))
    }
    Ok(())
}
