# The sidecar with the component set `aws` in it, since ECS mounts no files. From the top folder:
#
#   docker build -f deploy/aws/sidecar.Dockerfile -t websocket-manager-sidecar components/aws
#
# Never built here, for want of a container engine; a daprd of this version runs with these files in the tests.
FROM daprio/daprd:1.18.2
COPY *.yaml /components/
USER 65532:65532
ENTRYPOINT ["/daprd"]
