# make          the program, with the one for the Pi inside: bin/clusterctrl
# make demo     builds a sample cluster's images into out/demo
# make test     runs all tests, after installing or naming what they need
# make test-powercut  cuts the power at thousands of moments of a first boot
# make bench    prints how fast it is beside what users would run instead; as root
# make release  the program for Linux, macOS and Windows

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
GOFLAGS_PI := -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$(VERSION)"
PAYLOAD := internal/image/payload/bin
SOURCES := $(shell find cmd internal -name '*.go' -not -name '*_test.go') $(shell find internal/tree/recipe/files internal/image/sample/sample.img.xz -type f) go.mod go.sum

export CGO_ENABLED = 0

.PHONY: all payload demo test test-powercut bench release clean

all: bin/clusterctrl

PACKED := $(foreach arch,armhf arm64,$(PAYLOAD)/clusterctrl-$(arch).zst $(PAYLOAD)/reconfig-clusterctrl-$(arch).zst)

bin/clusterctrl: $(SOURCES) $(PACKED)
	go build -tags payload $(GOFLAGS_PI) -o $@ ./cmd/clusterctrl

payload: $(PACKED)

.SECONDARY: # keep bin/pi: the tests compare with it

# The first Pi and the Zero are ARMv6.
bin/pi/%-armhf: $(SOURCES)
	GOOS=linux GOARCH=arm GOARM=6 go build $(GOFLAGS_PI) -o $@ ./cmd/$*

bin/pi/%-arm64: $(SOURCES)
	GOOS=linux GOARCH=arm64 go build $(GOFLAGS_PI) -o $@ ./cmd/$*

$(PAYLOAD)/%.zst: bin/pi/%
	mkdir -p $(PAYLOAD)
	go run ./internal/image/payload/pack $< $@

release: payload
	GOOS=linux GOARCH=amd64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-linux-amd64 ./cmd/clusterctrl
	GOOS=linux GOARCH=arm64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-linux-arm64 ./cmd/clusterctrl
	GOOS=darwin GOARCH=arm64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-macos-arm64 ./cmd/clusterctrl
	GOOS=darwin GOARCH=amd64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-macos-amd64 ./cmd/clusterctrl
	GOOS=windows GOARCH=amd64 go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl-windows-amd64.exe ./cmd/clusterctrl

demo: bin/clusterctrl
	mkdir -p out/demo
	bin/clusterctrl build sample --nodes 4 --force -o out/demo
	@echo
	@echo "What makes p1 differ from the controller:"
	bin/clusterctrl build sample --nodes 1 --no-nat --dry-run --quiet | sed -n '/-p1.img: /,$$p'

# Every package, on all that the program runs on; then every test. A tool that a
# test needs and that is missing fails it.
test: payload bin/clusterctrl
	test/tools.sh
	test/base/cached.sh bookworm.img & bookworm=$$!; \
	test/base/cached.sh trixie.img && wait $$bookworm
	internal/lab/labtest/kernel.sh amd64
	internal/lab/labtest/kernel.sh arm64
	internal/lab/labtest/kernel.sh armel
	gofmt -l cmd internal test bench | (! grep .)
	GOOS=linux go vet -tags payload ./...
	GOOS=darwin go vet ./cmd/...
	GOOS=windows go vet ./cmd/...
	GOOS=linux GOARCH=arm GOARM=6 go vet ./cmd/...
	GOOS=darwin go build -o /dev/null ./cmd/clusterctrl
	GOOS=windows go build -o /dev/null ./cmd/clusterctrl
	go test -tags payload -timeout 24m ./...

# Cuts the power at every flush of a first boot, and anywhere between them.
test-powercut: payload bin/clusterctrl
	test/tools.sh
	go test ./test/boot -tags payload -run TestPowerCuts -all -subsets 200 -v -timeout 6h

# Every part, which takes half an hour; go run ./bench -h names them.
bench: bin/clusterctrl
	test/tools.sh
	go run ./bench

clean:
	rm -rf bin out $(PAYLOAD)
