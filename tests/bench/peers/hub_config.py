"""Configuration of the JupyterHub that is measured. Read by `jupyterhub`, which defines `c`; values are in PEER_*."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - a name that JupyterHub gives this file

# As small as a server can be: what is measured is everything around it.
_SERVER = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8888), Answer).serve_forever()
"""

c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['PEER_PORT']}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['PEER_HUB_PORT']}"
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.JupyterHub.cookie_secret_file = "cookie"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.JupyterHub.cleanup_servers = True
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.log_level = "ERROR"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['PEER_PROXY_PORT']}"
c.ConfigurableHTTPProxy.auth_token = os.environ["PEER_TOKEN"]
c.JupyterHub.services = [{"name": "bench", "api_token": os.environ["PEER_TOKEN"]}]
c.JupyterHub.load_roles = [{"name": "bench", "scopes": ["admin:users", "admin:servers"], "services": ["bench"]}]
c.DockerSpawner.image = os.environ["PEER_IMAGE"]
c.DockerSpawner.cmd = ["python3", "-c", _SERVER]
c.DockerSpawner.extra_create_kwargs = {"entrypoint": [], "labels": {"jelmore.bench": os.environ["PEER_LABEL"]}}
c.DockerSpawner.remove = True
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.http_timeout = 60
