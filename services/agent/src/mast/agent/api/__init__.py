"""What Envoy, the kubelet and programs ask the agent: SDS, ADS, status and DNS servers."""
