//! The long-running process, wired top to bottom.

use crate::{
    Config, ConfigError,
    api::{self, App, Browser, Limits as CallLimits, SessionTimes},
    audit::{self, Syslog},
    boot_side::{Links, StoreDirectory, StoreRecorder, StoreSessions},
    clock::WallClock,
    config::{ControlTls, IbmCloudConfig, NutanixConfig},
    drivers::{ClusterAccounts, CvmSshFormation, FoundationFormation, PrismFormation, RandomPasswords},
    ibm::IbmCloud,
    installer::Installer,
    listener::{self, Limits, Speaks},
    oidc::{Oidc, OidcSetupError},
    password_hash::Passwords as UserPasswords,
    runner::{self, Wakes},
    secrets::{self, BootstrapToken, FoundKey, SecretError, SecretName, Secrets},
    tls::{self, ServerTls, TlsError},
};
use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::map_response,
    response::Response,
};
use metalform_boot::{BootHost, BootPlane, BootSettings, TemplateErrors, Templates, default_allow};
use metalform_ibm_cloud::{
    Credentials, HttpTransport, IAM_URL, Iam, METADATA_URL, Pause, TokioPause, TrustedProfile, VpcClient, vpc_url,
};
use metalform_model::{Clock, ProfileFileError, Profiles, audit_action};
use metalform_nutanix::{
    CvmShell, CvmShellSettings, FoundationClient, FoundationSettings, PrismClient, PrismSettings, RusshTransport, Ssh,
    TlsTransport,
};
use metalform_orchestrator::{Drivers, Orchestrator, Passwords};
use metalform_store::{AuditHeadError, AuditHeads, Store, StoreError};
use secrecy::SecretString;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A service that answers.
pub struct Running {
    /// Where people reach it.
    pub control_url: String,
    /// Where machines reach it.
    pub boot_url: String,
    /// The file with the operator's token.
    pub token_file: PathBuf,
    /// The file with the certificate to trust, where it is of our own making.
    pub ca_file: Option<PathBuf>,
    /// Notify it, and the certificate's files are looked at now.
    pub reload: Arc<Notify>,
    parts: Vec<(&'static str, JoinHandle<()>)>,
    plane: Arc<BootPlane>,
    store: Store,
    audit_heads: Arc<AuditHeads>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    /// Ends last: it sends how the rest ended.
    syslog: Option<(JoinHandle<()>, CancellationToken)>,
}

/// A service that can't start or go on.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store can't be opened.
    #[error("the store can't be opened")]
    Store(#[from] StoreError),
    /// A secret can't be used.
    #[error("a secret can't be used")]
    Secret(#[from] SecretError),
    /// The control plane's certificate can't be made or used.
    #[error("the control plane can't have its certificate")]
    Tls(#[from] TlsError),
    /// People can't log in by the OpenID provider. Not for its being away: it is asked when somebody logs in.
    #[error("single sign-on can't be set up")]
    Oidc(#[from] OidcSetupError),
    /// The boot plane's certificate can't be made or used.
    #[error("the boot plane can't have its certificate")]
    BootTls(#[source] TlsError),
    /// The audit's signed heads can't be used.
    #[error("the audit can't be signed")]
    Audit(#[from] AuditHeadError),
    /// The cloud's client can't be made.
    #[error("the client of IBM Cloud can't be made")]
    Cloud(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The profile file can't be used.
    #[error("the profiles of {} can't be used", path.display())]
    Profiles {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A script template is wrong.
    #[error("a script template is wrong")]
    Templates(#[from] TemplateErrors),
    /// A listener can't be bound.
    #[error("can't listen on {address} for the {plane}")]
    Listen {
        /// Which plane.
        plane: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl ServeError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            ServeError::Config(error) => error.hint(),
            ServeError::Store(error) => error.hint().into(),
            ServeError::Secret(error) => error.hint(),
            ServeError::Tls(error) | ServeError::BootTls(error) => error.hint(),
            ServeError::Oidc(OidcSetupError::Secret(error)) => error.hint(),
            ServeError::Oidc(_) => "check [control.oidc] ca_file and issuer".into(),
            ServeError::Audit(error) => error.hint().into(),
            ServeError::Cloud(_) => "check [ibm_cloud]; the system's CA certificates must be installed".into(),
            ServeError::Profiles { .. } => "write it in the form of the built-in table".into(),
            ServeError::Templates(_) => "mend the named lines, or leave [boot] templates_dir out".into(),
            ServeError::Listen { .. } => "free the address, or choose another with `listen`".into(),
        }
    }
}

/// Starts everything and answers once both planes do. Ends when `stop` is cancelled; see [`Running::finished`].
pub async fn serve(config: Config, stop: CancellationToken) -> Result<Running, ServeError> {
    let found = FoundKey::load(&config).await?;
    let store = Store::open(&config.data_dir).await?;
    let secrets = found.settle(&store, &WallClock).await?;
    let control = listen("control plane", config.control.listen).await?;
    let boot = listen("boot plane", config.boot.listen).await?;
    let boot_host = match (&config.boot.public_url, boot.local_addr()) {
        // With port 0 only the bound address tells where machines reach us.
        (None, Ok(address)) if config.boot.listen.port() == 0 => {
            address.to_string().parse().map_err(|error: metalform_boot::BootHostError| ConfigError::Refused {
                key: "boot.listen",
                why: error.to_string(),
                hint: error.hint().into(),
            })?
        }
        _ => config.boot_host()?,
    };
    let outside = Outside {
        clock: Arc::new(WallClock),
        ibm: Arc::new(HttpTransport::new().map_err(|error| ServeError::Cloud(error.into()))?),
        pause: Arc::new(TokioPause),
        nutanix: Arc::new(TlsTransport::new()),
        ssh: Arc::new(RusshTransport::new()),
        passwords: RandomPasswords::shared(),
    };
    let clock = outside.clock.clone();
    // Before the token: who finds that finds the authority's certificate, too.
    let address = control.local_addr().unwrap_or(config.control.listen);
    let tls = ServerTls::start(&config, &secrets.files(), address, clock.now())?;
    let control_speaks = match &tls {
        Some(tls) => Speaks::Https(tls.acceptor()?),
        None => Speaks::Http,
    };
    let parts = assemble(&config, &secrets, boot_host.clone(), store.clone(), outside, stop.clone()).await?;
    let boot_speaks = match &parts.boot_tls {
        Some(tls) => Speaks::Either(tls.acceptor().map_err(ServeError::BootTls)?),
        None => Speaks::Http,
    };

    let started = audit::own_line(&*clock, audit_action::SERVICE_STARTED, env!("CARGO_PKG_VERSION"), "ok");
    store.add_audit(&started).await?;
    let audit_heads = parts.audit_heads.clone();
    let signing = audit::sign(audit_heads.clone(), store.clone(), clock.clone(), stop.clone());
    let syslog = config.audit.syslog.clone().map(|target| {
        let (ended, syslog) =
            (CancellationToken::new(), Syslog { store: store.clone(), heads: audit_heads.clone(), target });
        (tokio::spawn(syslog.run(ended.clone())), ended)
    });

    let scheme = if tls.is_some() { "https" } else { "http" };
    let control_url = format!("{scheme}://{}", reachable(address));
    let ca_file = (config.control.tls == ControlTls::SelfMade).then(|| tls::ca_file(&config.data_dir));
    let reload = Arc::new(Notify::new());
    let (prepare, plane) = (parts.plane.clone(), parts.plane);
    let limits = Limits::default();
    let boot_router = metalform_boot::router(plane.clone());
    let control_router = match tls.as_ref().is_some_and(ServerTls::is_operators) {
        true => parts.control.layer(map_response(strict_transport)),
        false => parts.control,
    };
    let connections = listener::answer("control plane", control, control_speaks, control_router, limits, stop.clone());
    let mut running = vec![
        ("boot images", tokio::spawn(async move { drop(prepare.prepare_images().await) })),
        ("control plane", tokio::spawn(to_the_last_call(connections, parts.calls))),
        ("boot plane", listener::answer("boot plane", boot, boot_speaks, boot_router, limits, stop.clone())),
        ("loop", tokio::spawn(runner::run(parts.orchestrator, clock.clone(), parts.wakes, stop.clone()))),
        ("audit", tokio::spawn(signing)),
    ];
    if let Some(tls) = tls {
        running.push(("certificate", tokio::spawn(tls.keep(clock.clone(), reload.clone(), stop.clone()))));
    }
    if let Some(tls) = parts.boot_tls {
        // Nobody has its files to replace: it is looked at in its own time alone.
        let never = Arc::new(Notify::new());
        running.push(("boot plane's certificate", tokio::spawn(tls.keep(clock.clone(), never, stop.clone()))));
    }
    let token_file = config.data_dir.join("token");
    let boot_url = format!("http://{boot_host}");
    Ok(Running {
        control_url,
        boot_url,
        token_file,
        ca_file,
        reload,
        parts: running,
        plane,
        store,
        audit_heads,
        clock,
        stop,
        syslog,
    })
}

/// Ends with the last connection and the last call, which may be of somebody who has hung up.
async fn to_the_last_call(connections: JoinHandle<()>, calls: TaskTracker) {
    connections.await.ok();
    calls.close();
    calls.wait().await;
}

/// For one year; RFC 6797. Only with a certificate that the operator has: the rule holds for the whole host, and ours names
/// `localhost`, where everybody's other services speak plain HTTP.
async fn strict_transport(mut response: Response) -> Response {
    let value = HeaderValue::from_static("max-age=31536000");
    response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    response
}

/// What listens on every address is on loopback, too, and that one can be asked for.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// What the service has from outside of itself: time, and ways to reach the world.
pub struct Outside {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The way to IBM Cloud.
    pub ibm: Arc<dyn metalform_ibm_cloud::Transport>,
    /// How its client waits between tries.
    pub pause: Arc<dyn Pause>,
    /// The way to the controller VMs.
    pub nutanix: Arc<dyn metalform_nutanix::Transport>,
    /// The way into their shells, and into their hosts'.
    pub ssh: Arc<dyn Ssh>,
    /// Where new passwords come from.
    pub passwords: Arc<dyn Passwords>,
}

/// The service without its sockets: whoever has it runs the loop and answers requests.
pub struct Assembly {
    /// The loop.
    pub orchestrator: Arc<Orchestrator>,
    /// Who woke it.
    pub wakes: Wakes,
    /// What machines talk to; see [`metalform_boot::router`].
    pub plane: Arc<BootPlane>,
    /// What people talk to.
    pub control: Router,
    /// Calls of the control plane that are under way, also those whose caller has hung up.
    pub calls: TaskTracker,
    /// What signs the audit.
    pub audit_heads: Arc<AuditHeads>,
    /// What the boot plane speaks beside plain HTTP.
    pub(crate) boot_tls: Option<ServerTls>,
}

/// Wires the service together. Opens no socket and starts no loop.
pub async fn assemble(
    config: &Config,
    secrets: &Secrets,
    boot_host: BootHost,
    store: Store,
    outside: Outside,
    stop: CancellationToken,
) -> Result<Assembly, ServeError> {
    let clock = outside.clock;
    let token = BootstrapToken::load(&config.data_dir)?;
    let key = secrets.audit_key()?;
    let (audit_heads, found) = AuditHeads::open(store.clone(), &config.data_dir, key).await?;
    audit::tell(&found, &store, &*clock).await?;
    let audit_heads = Arc::new(audit_heads);
    let profiles = Arc::new(read_profiles(config.profiles.file.as_deref())?);
    let templates = match &config.boot.templates_dir {
        Some(dir) => Templates::load(dir)?,
        None => Templates::builtin(),
    };
    if let Some(name) = config.boot.template.as_ref().filter(|name| !templates.has(name)) {
        return Err(ServeError::Config(ConfigError::Refused {
            key: "boot.template",
            why: format!("there is no template {name:?}"),
            hint: format!("known: {}", templates.names().collect::<Vec<_>>().join(", ")),
        }));
    }
    let credentials = credentials(&config.ibm_cloud, |name| secrets.get(name))?;
    let iam = ibm_iam(&config.ibm_cloud, credentials, outside.ibm.clone(), clock.clone());
    let iam = Arc::new(iam.map_err(|error| ServeError::Cloud(error.into()))?);
    let vpc = ibm_client(&config.ibm_cloud, iam, outside.ibm, outside.pause);
    let vpc = Arc::new(vpc.map_err(|error| ServeError::Cloud(error.into()))?);
    let (drivers, accounts) = formation(&config.nutanix, outside.nutanix, outside.ssh)?;

    let (wake, wakes) = runner::wakes();
    let installer = Installer {
        images_dir: config.images_dir(),
        boot_host: boot_host.clone(),
        template: config.boot.template.clone(),
        eula_accepted: config.nutanix.accept_eula,
    };
    let directory = Arc::new(StoreDirectory::new(store.clone(), profiles.clone(), installer.clone()));
    directory.warm().await?;
    let recorder = Arc::new(StoreRecorder { store: store.clone(), wake: wake.clone() });
    let sessions = Arc::new(StoreSessions { store: store.clone(), wake: wake.clone() });
    if config.boot.tls.is_none() && !config.boot.speaks_tls() {
        tracing::warn!(
            "[boot] trusted_proxies: the boot plane speaks plain HTTP alone; tls = \"self\" where they pass TLS through"
        );
    }
    let boot_tls =
        ServerTls::start_boot(config, &secrets.files(), &boot_host, clock.now()).map_err(ServeError::BootTls)?;
    let settings = BootSettings {
        ca_pin: boot_tls.as_ref().and_then(ServerTls::ca_pin),
        trusted_proxies: config.boot.trusted_proxies.clone(),
        allow: config.boot.allow.clone().unwrap_or_else(default_allow),
        source_check: config.boot.source_check,
        templates: templates.clone(),
        ..BootSettings::new(boot_host.clone(), config.images_dir())
    };
    let key = secrets.token_key(&store).await?;
    let plane = BootPlane::start(directory.clone(), recorder, sessions, key, settings, clock.clone());

    let key = secrets.token_key(&store).await?;
    let sealer = secrets.sealer();
    let orchestrator = Arc::new(Orchestrator {
        store: store.clone(),
        cloud: Arc::new(IbmCloud(vpc.clone())),
        drivers,
        accounts: Arc::new(accounts),
        passwords: outside.passwords,
        sealer: secrets.sealer(),
        links: Arc::new(Links {
            key,
            host: boot_host.clone(),
            ca_pin: boot_tls.as_ref().and_then(ServerTls::ca_pin),
            user_data: config.ibm_cloud.user_data,
            directory: directory.clone(),
            installer: installer.clone(),
            templates: templates.clone(),
        }),
        clock: clock.clone(),
        timeouts: config.timeouts(),
    });
    let (timeouts, calls) = (config.timeouts(), TaskTracker::new());
    let (idle, longest) = config.control.session_times();
    let oidc = match (&config.control.oidc, config.control.origin()) {
        (Some(oidc), Some(origin)) => Some(Oidc::new(oidc.clone(), &origin)?),
        // The configuration was checked: with the one there is the other.
        (Some(_) | None, _) => None,
    };
    api::end_outdated(&store, &*clock, oidc.as_ref().map(Oidc::digest).as_deref()).await?;
    let app = App {
        store,
        audit_heads: audit_heads.clone(),
        vpc,
        profiles,
        clock,
        wake,
        plane: plane.clone(),
        installer,
        directory,
        boot_host,
        templates,
        user_data: config.ibm_cloud.user_data,
        timeouts,
        token,
        limits: CallLimits::default(),
        passwords: UserPasswords::default(),
        sessions: SessionTimes { idle, longest },
        oidc,
        browser: Browser::new(config.control.tls != ControlTls::Off, config.control.public_url.as_ref()),
        sealer,
        calls: calls.clone(),
        stop,
    };
    Ok(Assembly {
        orchestrator,
        wakes,
        plane,
        calls,
        control: api::router(Arc::new(app), &config.control.trusted_proxies),
        audit_heads,
        boot_tls,
    })
}

/// How long connections and passes may take to end once the service is told to stop. A pass makes calls of up to a
/// minute; what it has recorded stands if it is cut off, as after any crash.
const DRAIN: Duration = Duration::from_secs(10);

impl Running {
    /// Waits until the service was told to stop and everything under way has ended, or had its time.
    pub async fn finished(self) -> Result<(), ServeError> {
        self.stop.cancelled().await;
        // One time for all: who supervises us waits for the whole.
        let mut drained = std::pin::pin!(tokio::time::sleep(DRAIN));
        for (name, part) in self.parts {
            let abort = part.abort_handle();
            tokio::select! {
                biased;
                _ = part => {}
                () = drained.as_mut() => {
                    tracing::warn!(part = name, "did not end in time and is cut off; what it recorded stands");
                    abort.abort();
                }
            }
        }
        let lost = self.plane.flush(Duration::from_secs(5)).await;
        if lost > 0 {
            tracing::error!(lost, "records of boot requests could not be written before the end");
        }
        let stopped = audit::own_line(&*self.clock, audit_action::SERVICE_STOPPED, env!("CARGO_PKG_VERSION"), "ok");
        if let Err(error) = self.store.add_audit(&stopped).await {
            tracing::error!(%error, "an audit line could not be written");
        }
        if let Err(error) = self.audit_heads.sign(self.clock.now()).await {
            tracing::error!(%error, "the last lines of the audit could not be signed; the next start does that");
        }
        if let Some((sending, ended)) = self.syslog {
            ended.cancel();
            let abort = sending.abort_handle();
            if tokio::time::timeout(DRAIN, sending).await.is_err() {
                abort.abort();
            }
        }
        self.store.close().await;
        Ok(())
    }
}

async fn listen(plane: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { plane, address, source })
}

fn read_profiles(file: Option<&Path>) -> Result<Profiles, ServeError> {
    let Some(path) = file else { return Ok(Profiles::builtin()) };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ServeError::Profiles { path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.into()))?;
    Profiles::builtin().with_user_file(&text).map_err(|error: ProfileFileError| failed(error.into()))
}

pub(crate) fn credentials(
    cloud: &IbmCloudConfig,
    sealed: impl FnOnce(SecretName) -> Result<SecretString, SecretError>,
) -> Result<Credentials, ServeError> {
    match (&cloud.api_key_file, &cloud.trusted_profile) {
        (Some(file), _) => Ok(Credentials::ApiKey(secrets::read(file)?)),
        (None, None) if cloud.api_key.is_some() => Ok(Credentials::ApiKey(sealed(SecretName::IbmApiKey)?)),
        (None, Some(profile)) => Ok(Credentials::TrustedProfile {
            metadata_url: cloud.metadata_url.clone().unwrap_or_else(|| METADATA_URL.into()),
            profile: (profile != "default").then(|| TrustedProfile::Id(profile.clone())),
        }),
        (None, None) => Err(ServeError::Config(ConfigError::Refused {
            key: "ibm_cloud.api_key_file",
            why: "missing, and so are api_key and trusted_profile".into(),
            hint: "write the API key into a file with mode 0600 and name it: api_key_file = \"…\"; or keep it sealed: \
                   `metalform secret set ibm-api-key`, and api_key = \"sealed\""
                .into(),
        })),
    }
}

pub(crate) fn ibm_iam(
    cloud: &IbmCloudConfig,
    credentials: Credentials,
    transport: Arc<dyn metalform_ibm_cloud::Transport>,
    clock: Arc<dyn Clock>,
) -> Result<Iam, metalform_ibm_cloud::Error> {
    Iam::new(credentials, cloud.iam_url.as_deref().unwrap_or(IAM_URL), transport, clock)
}

pub(crate) fn ibm_client(
    cloud: &IbmCloudConfig,
    iam: Arc<Iam>,
    transport: Arc<dyn metalform_ibm_cloud::Transport>,
    pause: Arc<dyn Pause>,
) -> Result<VpcClient, metalform_ibm_cloud::Error> {
    let url = cloud.vpc_url.clone().unwrap_or_else(|| vpc_url(&cloud.region));
    VpcClient::new(&url, iam, transport, pause)
}

/// The ways to form a cluster, and to change its passwords, over one set of clients.
fn formation(
    nutanix: &NutanixConfig,
    transport: Arc<dyn metalform_nutanix::Transport>,
    ssh: Arc<dyn Ssh>,
) -> Result<(Drivers, ClusterAccounts), ServeError> {
    let prism = PrismSettings::default();
    let prism = PrismSettings {
        port: nutanix.prism_port,
        user: nutanix.prism_user.clone(),
        password: password(&nutanix.prism_password_file, prism.password)?,
        ..PrismSettings::default()
    };
    let foundation = FoundationSettings::default();
    let foundation = FoundationSettings {
        port: nutanix.foundation_port,
        user: nutanix.foundation_user.clone(),
        password: password(&nutanix.foundation_password_file, foundation.password)?,
        ..FoundationSettings::default()
    };
    let shell = CvmShellSettings {
        port: nutanix.ssh_port,
        user: nutanix.cvm_user.clone(),
        prism_port: nutanix.prism_port,
        genesis_port: nutanix.genesis_port,
        ..CvmShellSettings::default()
    };
    let prism = PrismFormation(PrismClient::new(transport.clone(), prism));
    let cvm = CvmSshFormation {
        shell: CvmShell::new(ssh.clone(), shell.clone()),
        password: password(&nutanix.cvm_password_file, FACTORY_PASSWORD.into())?,
        prism: prism.clone(),
    };
    let foundation = FoundationFormation {
        client: FoundationClient::new(transport, foundation),
        prism: prism.clone(),
        ssh: cvm.clone(),
    };
    let accounts = ClusterAccounts {
        cvm: cvm.clone(),
        host: CvmShell::new(ssh, shell.of_hypervisor()),
        host_password: password(&nutanix.ahv_password_file, FACTORY_PASSWORD.into())?,
        prism: prism.clone(),
        is_prism_password_named: nutanix.prism_password_file.is_some(),
    };
    Ok((Drivers([Arc::new(cvm), Arc::new(prism), Arc::new(foundation)]), accounts))
}

/// What controller VMs and AHV hosts are born with: published by Nutanix, no secret.
const FACTORY_PASSWORD: &str = "nutanix/4u";

fn password(file: &Option<PathBuf>, default: SecretString) -> Result<SecretString, ServeError> {
    match file {
        Some(file) => Ok(secrets::read(file)?),
        None => Ok(default),
    }
}
