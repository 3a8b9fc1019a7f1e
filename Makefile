# make          the program, with the one for the Pi inside: bin/clusterctrl
# make demo     builds a sample cluster's images into out/demo
# make test     tests every package, after installing or naming what that needs
# make test-machines  boots whole systems of every kind, which takes longer
# make lint     checks the source without running it
# make test-powercut  cuts the power at thousands of moments of a first boot
# make bench    prints how fast it is beside what users would run instead; as root
# make release  the program for Linux, macOS and Windows, packages, manual pages,
#               completion, and their checksums: bin/release
# make test-deb installs, upgrades and purges the packages in a Debian root

# Versions are tags, v1.2.3. Between two, the last one's with the commit behind it.
VERSION ?= $(shell git describe --tags --match 'v*' --always --dirty 2>/dev/null || echo dev)
COMMIT := $(shell git rev-parse HEAD 2>/dev/null)
DATE := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
GOFLAGS_PI := -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)"
PAYLOAD := internal/image/payload/bin
SOURCES := $(shell find cmd internal -name '*.go' -not -name '*_test.go') $(shell find internal/tree/recipe/files internal/image/sample/sample.img.xz -type f) go.mod go.sum

export CGO_ENABLED = 0

.PHONY: all payload demo test test-boot test-packages test-machines test-powercut test-clusters test-deb lint bench release binaries manual reference completion deb clean

all: bin/clusterctrl

PACKED := $(foreach arch,armhf arm64,$(foreach program,clusterctrl reconfig-clusterctrl usbroot-clusterctrl,$(PAYLOAD)/$(program)-$(arch).zst))

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

# All that a release holds, anew, so that all of it is of one commit.
release:
	rm -rf bin/release bin/deb
	$(MAKE) -B payload
	$(MAKE) binaries manual completion deb
	cd bin/release && sha256sum $$(find . -type f ! -name SHA256SUMS -printf '%P\n' | sort) >SHA256SUMS

RELEASE := go build -tags payload $(GOFLAGS_PI) -o bin/release/clusterctrl

binaries: payload
	GOOS=linux GOARCH=amd64 $(RELEASE)-linux-amd64 ./cmd/clusterctrl
	GOOS=linux GOARCH=arm64 $(RELEASE)-linux-arm64 ./cmd/clusterctrl
	GOOS=linux GOARCH=arm GOARM=6 $(RELEASE)-linux-armhf ./cmd/clusterctrl
	GOOS=darwin GOARCH=arm64 $(RELEASE)-macos-arm64 ./cmd/clusterctrl
	GOOS=darwin GOARCH=amd64 $(RELEASE)-macos-amd64 ./cmd/clusterctrl
	GOOS=windows GOARCH=amd64 $(RELEASE)-windows-amd64.exe ./cmd/clusterctrl

# Manual pages have the date of the commit.
manual: payload
	mkdir -p bin/release/man
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		go test ./cmd/clusterctrl -count 1 -run TestManual -args -man $(CURDIR)/bin/release/man

# The reference, from the program's help. A test says whether it is current.
reference:
	go test ./cmd/clusterctrl -count 1 -run TestReference -args -update

completion: bin/clusterctrl
	mkdir -p bin/release/completion
	for shell in bash fish powershell zsh; do \
		bin/clusterctrl completion $$shell >bin/release/completion/clusterctrl.$$shell || exit; done

# What the version of a Debian package may look like, in the same order.
DEB_VERSION := $(shell echo $(VERSION) | sed -E 's/^v([0-9])/\1/; t tag; s/^/0~git./; : tag; s/-rc/~rc/; s/-/+/; s/-/./g')
NFPM := go tool -modfile=tools/go.mod nfpm package --config release/deb/nfpm.yaml --packager deb

deb: binaries manual completion
	rm -rf bin/deb
	for arch in amd64 arm64 armhf; do \
		usr=bin/deb/$$arch/usr && \
		install -D bin/release/clusterctrl-linux-$$arch $$usr/sbin/clusterctrl && \
		install -D -m 644 -t $$usr/share/man/man1 bin/release/man/*.1 && gzip -n9 $$usr/share/man/man1/*.1 && \
		install -D -m 644 bin/release/completion/clusterctrl.bash $$usr/share/bash-completion/completions/clusterctrl && \
		install -D -m 644 bin/release/completion/clusterctrl.fish $$usr/share/fish/vendor_completions.d/clusterctrl.fish && \
		install -D -m 644 bin/release/completion/clusterctrl.zsh $$usr/share/zsh/vendor-completions/_clusterctrl && \
		install -D -m 644 LICENSE $$usr/share/doc/clusterctrl/copyright && \
		go run ./release/units bin/deb/$$arch && \
		case $$arch in amd64) ;; *) install -D bin/pi/reconfig-clusterctrl-$$arch $$usr/sbin/reconfig-clusterctrl ;; esac && \
		ARCH=$$arch VERSION=$(DEB_VERSION) $(NFPM) --target bin/release || exit; done

# The same as two versions of it.
test-deb: deb
	test/tools.sh
	rm -rf bin/deb/versions && mkdir -p bin/deb/versions
	for arch in amd64 arm64 armhf; do for version in 1.0.0 2.0.0; do \
		ARCH=$$arch VERSION=$$version $(NFPM) --target bin/deb/versions || exit; done; done
	release/deb/check.sh bin/deb/versions/*.deb

demo: bin/clusterctrl
	mkdir -p out/demo
	bin/clusterctrl build sample --nodes 4 --force -o out/demo
	@echo
	@echo "What makes p1 differ from the controller:"
	bin/clusterctrl build sample --nodes 1 --no-nat --dry-run --quiet | sed -n '/-p1.img: /,$$p'

# Every package, each with what judges it, and one boot of a whole system. A tool
# that a test needs and that is missing fails it. The boot takes longest and waits
# often, so all else is done beside it, the first time the making of base images too: a
# test that needs one waits. A machine that a test boots is given up when it is silent
# for long; the time-out is for what hangs otherwise.
test: payload bin/clusterctrl
	test/tools.sh
	$(MAKE) -j5 test-boot test-packages lint base-trixie kernel-amd64 kernel-armel

TEST := go test -tags payload -timeout 6h

test-boot: base-bookworm kernel-arm64
	$(TEST) -short ./test/boot
test-packages: # three at once on two cores: many wait for machines that they boot
	$(TEST) -short -p $$(($$(nproc) + 1)) $$(go list ./... | grep -v '/test/boot$$')

# What tests boot, made or fetched where it is not there yet.
base-%:
	test/base/cached.sh $*.img
kernel-%:
	internal/lab/labtest/kernel.sh $*

# Every test that boots whole systems: roles, clusters, power cuts.
test-machines: payload bin/clusterctrl
	test/tools.sh
	$(TEST) ./test/boot ./internal/lab
	$(MAKE) test-deb

# What can be said of the source without running it, for every system it is for.
lint: payload
	gofmt -l cmd internal release test bench | (! grep .)
	GOOS=linux go vet -tags payload ./...
	GOOS=darwin go vet ./cmd/...
	GOOS=windows go vet ./cmd/...
	GOOS=linux GOARCH=arm GOARM=6 go vet ./cmd/...
	GOOS=darwin go build -o /dev/null ./cmd/clusterctrl
	GOOS=windows go build -o /dev/null ./cmd/clusterctrl
	go tool -modfile=tools/go.mod staticcheck -tags payload ./...

# Cuts the power at every flush of a first boot, and anywhere between them.
test-powercut: payload bin/clusterctrl
	test/tools.sh
	go test ./test/boot -tags payload -run TestPowerCuts -all -subsets 200 -v -timeout 24h

# Whole clusters, one after the other: nodes without cards, with NFS roots and with disks, and
# README's first hour. A cluster takes up to an hour. Other work beside it may slow the emulated
# machines so much that their own time limits stop services.
test-clusters: payload bin/clusterctrl
	test/tools.sh
	go test ./test/boot -tags payload -run 'TestUSBBoot|TestDisks|TestFirstHour' -all -v -timeout 24h

# Every part, which takes half an hour; go run ./bench -h names them.
bench: bin/clusterctrl
	test/tools.sh
	go run ./bench

clean:
	rm -rf bin out $(PAYLOAD)
