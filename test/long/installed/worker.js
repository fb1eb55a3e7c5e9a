import { train } from "./train.js";

train("cpu").then((losses) => postMessage(losses));
