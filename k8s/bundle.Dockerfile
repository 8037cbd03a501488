# A bundle as an OCI artifact; its tag is the sha256 of its bundle.json:
# docker build -f k8s/bundle.Dockerfile -t eventmodel-bundle:$SHA256 work/bundle
FROM busybox:1.37.0
# owned by who reads it, whatever the permissions
COPY --chown=10001:10001 . /bundle
USER 10001:10001
