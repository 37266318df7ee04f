"""A program: one gRPC call per line of input to a target, resolved over xDS by gRPC itself.

Writes the answer or the status of each call. Run it with GRPC_XDS_BOOTSTRAP set.
"""

import sys

import grpc


def main() -> None:
    """Call the target given as the only argument until the input ends."""
    with grpc.insecure_channel(sys.argv[1]) as channel:
        call = channel.unary_unary("/test.Echo/Say")
        for line in sys.stdin:
            try:
                answer = call(line.strip().encode(), timeout=20).decode()
            except grpc.RpcError as error:
                answer = f"{error.code().name} {error.details()}"
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
