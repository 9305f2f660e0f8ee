#include "load.h"

#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

namespace {

using evenkeel::echo::v1::EchoReply;
using evenkeel::echo::v1::EchoRequest;
using Clock = std::chrono::steady_clock;

// What one thread has seen; latencies in microseconds.
struct Tally {
  std::vector<double> took;
  int failed = 0;
  std::string first;

  void Note(Clock::time_point start) {
    took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  void Note(const grpc::Status& status) {
    if (failed++ == 0) first = std::to_string(status.error_code()) + " " + status.error_message();
  }
};

// What a thread works for: the queue that its calls end in, and until when.
struct Work {
  Echo::Stub& stub;
  grpc::CompletionQueue& queue;
  const std::string& payload;
  Clock::time_point end;
  Tally& tally;
};

// One of the calls at once. `Next` hears that what it waited for has happened and says whether it goes on.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual bool Begin() = 0;
  virtual bool Next(bool ok) = 0;
};

class UnaryCaller final : public Caller {
 public:
  explicit UnaryCaller(Work& work) : work_(work) {}

  bool Begin() override {
    start_ = Clock::now();
    if (start_ >= work_.end) return false;
    context_.emplace();
    EchoRequest request;
    request.set_payload(work_.payload);
    reader_ = work_.stub.AsyncUnary(&*context_, request, &work_.queue);
    reader_->Finish(&reply_, &status_, this);
    return true;
  }

  bool Next(bool) override {
    if (status_.ok()) {
      work_.tally.Note(start_);
    } else {
      work_.tally.Note(status_);
    }
    return Begin();
  }

 private:
  Work& work_;
  Clock::time_point start_;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<EchoReply>> reader_;
  EchoReply reply_;
  grpc::Status status_;
};

// A stream that breaks is a failed call, and replaced.
class StreamCaller final : public Caller {
 public:
  explicit StreamCaller(Work& work) : work_(work) {}

  bool Begin() override {
    if (Clock::now() >= work_.end) return false;
    context_.emplace();
    stream_ = work_.stub.AsyncBidi(&*context_, &work_.queue, this);
    step_ = Step::kOpen;
    return true;
  }

  bool Next(bool ok) override {
    switch (step_) {
      case Step::kOpen:
        return ok ? Say() : Finish();
      case Step::kSay:
        return ok ? Hear() : Finish();
      case Step::kHear:
        if (!ok) return Finish();
        work_.tally.Note(start_);
        return Clock::now() < work_.end ? Say() : Close();
      case Step::kClose:
        return Finish();
      case Step::kFinish:
        if (!status_.ok()) work_.tally.Note(status_);
        return Begin();
    }
    return false;
  }

 private:
  enum class Step { kOpen, kSay, kHear, kClose, kFinish };

  bool Say() {
    step_ = Step::kSay;
    start_ = Clock::now();
    request_.set_payload(work_.payload);
    stream_->Write(request_, this);
    return true;
  }
  bool Hear() {
    step_ = Step::kHear;
    stream_->Read(&reply_, this);
    return true;
  }
  bool Close() {
    step_ = Step::kClose;
    stream_->WritesDone(this);
    return true;
  }
  bool Finish() {
    step_ = Step::kFinish;
    stream_->Finish(&status_, this);
    return true;
  }

  Work& work_;
  Step step_ = Step::kOpen;
  Clock::time_point start_;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<EchoRequest, EchoReply>> stream_;
  EchoRequest request_;
  EchoReply reply_;
  grpc::Status status_;
};

// Until every caller is done.
void Drive(Work& work, bool stream, int callers) {
  std::vector<std::unique_ptr<Caller>> all;
  int busy = 0;
  for (int i = 0; i < callers; ++i) {
    if (stream) {
      all.push_back(std::make_unique<StreamCaller>(work));
    } else {
      all.push_back(std::make_unique<UnaryCaller>(work));
    }
    busy += all.back()->Begin();
  }
  void* tag = nullptr;
  bool ok = false;
  while (busy > 0 && work.queue.Next(&tag, &ok)) {
    if (!static_cast<Caller*>(tag)->Next(ok)) --busy;
  }
  work.queue.Shutdown();
  while (work.queue.Next(&tag, &ok)) {
  }
}

// What the whole process has used so far, in seconds.
double CpuTime() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::string Summary(const std::vector<Tally>& tallies, double seconds, double cpu) {
  std::vector<double> took;
  int failed = 0;
  for (const Tally& tally : tallies) {
    took.insert(took.end(), tally.took.begin(), tally.took.end());
    if (failed == 0 && tally.failed > 0) std::cerr << "peer: the first call to fail: " << tally.first << std::endl;
    failed += tally.failed;
  }
  std::sort(took.begin(), took.end());
  const auto at = [&](double share) {
    const size_t rank = static_cast<size_t>(std::ceil(share * took.size()));
    return took.empty() ? 0 : took[std::max<size_t>(rank, 1) - 1];
  };
  std::ostringstream line;
  line << std::fixed << "{\"calls\":" << took.size() << ",\"failed\":" << failed << ",\"seconds\":" << seconds
       << ",\"cpu_seconds\":" << cpu << ",\"p50_us\":" << at(0.5) << ",\"p90_us\":" << at(0.9) << ",\"p99_us\":" << at(0.99)
       << ",\"p999_us\":" << at(0.999) << ",\"max_us\":" << at(1) << "}";
  return line.str();
}

}  // namespace

std::string Obey(Echo::Stub& stub, const Order& order, int workers) {
  const int threads = std::min(workers, order.concurrency);
  const std::string payload(order.payload, '\0');
  std::vector<grpc::CompletionQueue> queues(threads);
  std::vector<Tally> tallies(threads);
  std::vector<std::thread> running;
  const double cpu = CpuTime();
  const auto start = Clock::now();
  const auto end = start + std::chrono::milliseconds(order.millis);
  for (int i = 0; i < threads; ++i) {
    const int callers = order.concurrency / threads + (i < order.concurrency % threads);
    running.emplace_back([&, i, callers] {
      Work work{stub, queues[i], payload, end, tallies[i]};
      Drive(work, order.stream, callers);
    });
  }
  for (std::thread& thread : running) thread.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return Summary(tallies, seconds, CpuTime() - cpu);
}
