// What is tried: a camera, a video file, or photographs. Each gives the newest picture when it is asked, and no other:
// frames never wait in a queue.
const STEP_S = 1 / 25;
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 } };
const REFUSALS = {
  NotAllowedError: "The browser does not give this page the camera: allow it beside the address.",
  NotFoundError: "There is no camera here.",
  NotReadableError: "The camera is in use by another program.",
  OverconstrainedError: "That camera is gone.",
};

// Resolves after the event; rejects where the video cannot be played.
function once(video, event) {
  return new Promise((resolve, reject) => {
    video.addEventListener(event, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error("The browser cannot play this video.")), { once: true });
  });
}

class Moving {
  constructor(video) {
    this.video = video;
    this.shown = 0; // pictures that the source has had while it was watched
    this.taken = 0;
    this.presented = null; // the browser's own count, at the last picture
    this.watching = null;
  }

  get isStill() { return false; }
  get size() { return [this.video.videoWidth, this.video.videoHeight]; }
  get dropped() { return Math.max(this.shown - this.taken, 0); }

  // Resolves when there is a picture that was not there before.
  next() {
    this.watching ??= new Promise((resolve) => {
      const seen = (now, facts) => {
        const count = facts?.presentedFrames ?? 0;
        this.shown += this.presented !== null && count ? Math.max(count - this.presented, 1) : 1;
        this.presented = count;
        this.watching = null;
        resolve();
      };
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(seen);
      else requestAnimationFrame(seen);
    });
    return this.watching;
  }

  take() {
    this.taken += 1;
    return this.video;
  }

  // Pictures that come meanwhile are not dropped: nobody asks for them.
  freeze() { this.presented = null; }
}

class Camera extends Moving {
  get canGoBack() { return false; }
  async goOn() { this.presented = null; }
  async step() { await this.next(); }
  stop() { for (const track of this.video.srcObject.getTracks()) track.stop(); }
}

class VideoFile extends Moving {
  get canGoBack() { return true; }

  freeze() {
    super.freeze();
    this.video.pause();
  }

  async goOn() {
    this.presented = null;
    await this.video.play();
  }

  async step(direction) {
    const to = this.video.currentTime + direction * STEP_S;
    const sought = once(this.video, "seeked");
    this.video.currentTime = Math.min(Math.max(to, 0), this.video.duration || to);
    await sought;
    this.shown += 1;
  }

  stop() {
    this.video.pause();
    URL.revokeObjectURL(this.video.src);
  }
}

// One of them is in memory at a time.
class Photographs {
  constructor(files) {
    Object.assign(this, { files, at: 0, picture: null });
  }

  get isStill() { return true; }
  get canGoBack() { return this.files.length > 1; }
  get file() { return this.files[this.at]; }
  get size() { return [this.picture.width, this.picture.height]; }
  take() { return this.picture; }

  async step(direction) {
    const to = (this.at + direction + this.files.length) % this.files.length;
    let picture;
    try {
      picture = await createImageBitmap(this.files[to]);
    } catch {
      throw new Error(`The browser cannot show ${this.files[to].name} as a photograph.`);
    } finally {
      this.at = to;
    }
    this.picture?.close();
    this.picture = picture;
  }

  stop() { this.picture?.close(); }
}

function videoElement() {
  return Object.assign(document.createElement("video"), { muted: true, playsInline: true, loop: true });
}

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export async function openCamera(deviceId) {
  const wanted = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: { ideal: "environment" } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { ...CAMERA, ...wanted }, audio: false });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The camera does not start (${error.name}).`);
  }
  const video = videoElement();
  video.srcObject = stream;
  await video.play();
  return new Camera(video);
}

export async function cameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput");
}

export async function openVideo(file) {
  const video = videoElement();
  const loaded = once(video, "loadeddata");
  video.src = URL.createObjectURL(file);
  await loaded;
  await video.play();
  return new VideoFile(video);
}

export async function openPhotographs(files) {
  const photographs = new Photographs(files);
  await photographs.step(0);
  return photographs;
}
