#include "core/app/vm_services.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {
namespace {

/// What ended() must not meet half-way.
class GuardedNetwork final : public Network {
  public:
    GuardedNetwork(std::unique_ptr<Network> network, InstanceLocks& locks, const VmCall& call)
        : network_(std::move(network)), locks_(locks), call_(call) {}
    NetworkAttachment attach() override {
        const auto held = locks_.hold(call_.instance, call_.ctx.deadline());
        return network_->attach();
    }
    void detach() override {
        const auto held = locks_.hold(call_.instance, call_.ctx.deadline());
        network_->detach();
    }

  private:
    std::unique_ptr<Network> network_;
    InstanceLocks& locks_;
    const VmCall& call_;
};

class CallServices final : public VmServices {
  public:
    CallServices(InstanceLocks& locks, ProcessParts& processes, ImageStore* images, Net* net,
                 const VmCall& call)
        : locks_(locks),
          call_(call),
          processes_(processes, call),
          images_(images ? images->for_call(call.instance) : nullptr),
          net_(net) {
        if (net_ == nullptr) return;
        const auto uid = [this] { return static_cast<unsigned>(processes_.home().uid); };
        network_ = std::make_unique<GuardedNetwork>(net_->for_call(call.instance, call.operation, uid),
                                                    locks_, call_);
    }

    Network& network() override {
        if (!network_) throw Error{Code::unavailable, "this daemon offers no network"};
        return *network_;
    }
    Processes& processes() override { return processes_; }
    Images& images() override {
        if (!images_) throw Error{Code::unavailable, "this daemon offers no images"};
        return *images_;
    }

    void release(const JournalRow& row) override {
        if (CallProcesses::owns(row.kind)) return processes_.release(row);
        if (net_ != nullptr && Net::owns(row.kind)) return net_->release(row);
        throw Error{Code::failed, fmt::format("nothing here undoes a row of kind '{}'", row.kind),
                    "was it made by a newer version?"};
    }

    void ended(const std::function<bool()>& still) override {
        const auto held = locks_.hold(call_.instance, call_.ctx.deadline());
        if (!still()) return;
        processes_.kill_all();
        if (network_) network_->detach();
    }

  private:
    InstanceLocks& locks_;
    const VmCall call_;
    CallProcesses processes_;
    std::unique_ptr<Images> images_;
    Net* net_;
    std::unique_ptr<Network> network_;
};

}  // namespace

VmServiceParts::VmServiceParts(Store& store, ProcessOptions processes)
    : processes_{store, locks_, supervisor_, std::move(processes)} {}

std::unique_ptr<VmServices> VmServiceParts::make(VmCall call) {
    return std::make_unique<CallServices>(locks_, processes_, images_, net_, call);
}

}  // namespace minions::core
