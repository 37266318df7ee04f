"""What every service's process has: settings, ports, logs and metrics, an orderly end."""
