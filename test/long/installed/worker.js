import { train } from "./train.js";

train().then((losses) => postMessage(losses));
