//! A real Kubernetes API server, with an etcd of its own behind it.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::etcd::Etcd;
use super::{fresh_dir, kubeapi_files, process};

/// The server is ready within half a second on an idle machine; a machine busy with a build gets more.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What the server logs once `/readyz` answers 200.
const READY: &str = "kubeapi is ready";

/// Who asks: the token to give to the server, which knows these and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeUser {
    /// May do everything.
    Admin,
    /// May read and watch.
    Reader,
    /// May do nothing: 403.
    Denied,
    /// May list, but not watch: 403 for that.
    NoWatch,
    /// May list and watch, but not get single objects: 403 for that.
    NoGet,
    /// May do everything, but nothing with ConfigMaps: 403 for that.
    NoConfigMaps,
    /// Is not known: 401.
    Unknown,
}

impl KubeUser {
    /// The bearer token.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Admin => "admin-token",
            Self::Reader => "reader-token",
            Self::Denied => "denied-token",
            Self::NoWatch => "no-watch-token",
            Self::NoGet => "no-get-token",
            Self::NoConfigMaps => "no-configmaps-token",
            Self::Unknown => "unknown-token",
        }
    }
}

/// A Kubernetes API server of this test's own, over TLS on a loopback port, serving namespaces, nodes, services, ConfigMaps
/// and EndpointSlices.
///
/// There are no controllers: nobody writes slices but the test, and nothing is checked that a controller would. Dropping the handle kills
/// the server and its etcd, waits for their end and removes their directories.
#[derive(Debug)]
pub struct KubeApi {
    root: PathBuf,
    dir: PathBuf,
    addr: SocketAddr,
    etcd: Etcd,
    watch_cache: bool,
    /// `None` while stopped.
    child: Option<Child>,
}

impl KubeApi {
    /// Starts a server from the files in `root`, and its etcd from those in `etcd` (see [`require`](super::require)), and waits until it
    /// is ready.
    ///
    /// # Errors
    /// When one of them cannot be started, ends at once (the error carries its log) or is not ready within a minute.
    pub fn start(root: &Path, etcd: &Path) -> io::Result<Self> {
        Self::start_with(root, etcd, true)
    }

    /// The same without the cache between watches and etcd: what etcd has compacted is then refused with 410, to watches and to further
    /// pages of a list.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_without_watch_cache(root: &Path, etcd: &Path) -> io::Result<Self> {
        Self::start_with(root, etcd, false)
    }

    fn start_with(root: &Path, etcd: &Path, watch_cache: bool) -> io::Result<Self> {
        let etcd = Etcd::start(etcd)?;
        let dir = fresh_dir("kubeapi")?;
        let mut api = Self { root: root.to_owned(), dir, addr: free_addr()?, etcd, watch_cache, child: None };
        kubeapi_files::write(&api.dir)?;
        api.launch().map(|()| api)
    }

    /// Where it listens. The same for the handle's whole life, restarts included.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL, with the name that its certificate is for.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// The certificate that vouches for it, in PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca_pem(&self) -> io::Result<String> {
        fs::read_to_string(self.certificate())
    }

    /// Writes a kubeconfig for `user` with `namespace` as its default, and says where.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig(&self, user: KubeUser, namespace: &str) -> io::Result<PathBuf> {
        let (path, authority) = (self.dir.join(format!("kubeconfig-{user:?}-{namespace}")), self.certificate());
        let cluster = format!("{{server: {:?}, certificate-authority: {:?}}}", self.url(), authority.display().to_string());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: test, cluster: {cluster}}}]\n\
             users: [{{name: test, user: {{token: {}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test, namespace: {namespace:?}}}}}]\n",
            user.token()
        );
        fs::write(&path, text).map(|()| path)
    }

    /// The etcd in which it stores, to compact, freeze or wipe.
    pub fn etcd(&mut self) -> &mut Etcd {
        &mut self.etcd
    }

    /// The server's process id, or `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Freezes the server: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When it is stopped.
    pub fn pause(&self) -> io::Result<()> {
        process::signal(self.running()?, "STOP")
    }

    /// Thaws a frozen server.
    ///
    /// # Errors
    /// When it is stopped.
    pub fn resume(&self) -> io::Result<()> {
        process::signal(self.running()?, "CONT")
    }

    /// Kills the server (SIGKILL) and waits for its end: streams are cut wherever they are, and its port refuses. What it stored stays in
    /// etcd. Does nothing if it is stopped already.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Starts a stopped server again on the same port with the same certificate, and waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start), and when it is running.
    pub fn restart(&mut self) -> io::Result<()> {
        if let Some(pid) = self.pid() {
            return Err(io::Error::other(format!("the API server is running as process {pid}: kill it first")));
        }
        self.launch()
    }

    fn launch(&mut self) -> io::Result<()> {
        let log = File::create(self.log())?;
        let mut command = kubeapi_files::command(&self.root, &self.dir, self.addr, self.etcd.addr(0));
        if !self.watch_cache {
            command.arg("--watch-cache=false");
        }
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        let deadline = Instant::now() + READY_WITHIN;
        while !fs::read_to_string(self.log())?.contains(READY) {
            if let Some(status) = self.child.as_mut().map_or(Ok(None), Child::try_wait)? {
                return Err(self.failure(io::ErrorKind::Other, &format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failure(io::ErrorKind::TimedOut, "was not ready within a minute"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn failure(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        io::Error::new(kind, format!("the API server at {} {what}; its log:\n{log}", self.addr))
    }

    fn certificate(&self) -> PathBuf {
        self.dir.join("certs/apiserver.crt")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn running(&self) -> io::Result<u32> {
        self.pid().ok_or_else(|| io::Error::other(format!("the API server at {} is stopped", self.addr)))
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        // Nothing sensible is left to do with an error here, and a panic in drop would hide the test's own.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn free_addr() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
