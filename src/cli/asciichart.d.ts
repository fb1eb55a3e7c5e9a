declare module "asciichart" {
  type Colour = "blue" | "red" | "green" | "magenta" | "cyan" | "yellow";
  const asciichart: Readonly<Record<Colour, string>> & {
    plot(
      series: readonly (readonly number[])[],
      options: { readonly height: number; readonly colors?: readonly string[] },
    ): string;
    colored(text: string, colour: string): string;
  };
  export default asciichart;
}
